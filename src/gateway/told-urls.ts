import type { IncomingMessage } from 'node:http';
import { endpointSegments } from '../providers/canonical-path.ts';
import { headerOf } from './forwarded-headers.ts';
import type { Target } from './target.ts';
import { uploadUrlHeader } from './upload-url.ts';

/** URLs in an answer's head, of the provider's site and not to be told as they are. */
export interface ToldUrls {
  /** Where the next bytes of a resumable upload go. */
  readonly upload: string | null;
  /** Of what was made; null where a redirect leads. */
  readonly location: string | null;
}

export function toldUrls(status: number, headers: readonly [string, string][]): ToldUrls {
  return {
    upload: headerOf(headers, uploadUrlHeader),
    location: status < 300 ? headerOf(headers, 'location') : null,
  };
}

/**
 * The place of a call over WebRTC that was made just now, at this gateway: OpenAI tells its id nowhere else, and who wants to hang it up, or join it
 * by a WebSocket, needs it (developers.openai.com/api/docs/guides/realtime-server-controls). A path, as theirs.
 *
 * @param location as the provider told it, or null.
 * @returns null for every other place.
 */
export function callLocation(
  { url = '' }: Pick<IncomingMessage, 'url'>,
  target: Pick<Target, 'operation' | 'path'> | null,
  location: string | null,
): string | null {
  if (location === null || target?.operation !== 'openai.realtime') return null;
  if (endpointSegments(target.path).join('/') !== 'realtime/calls') return null;
  const id = /\/realtime\/calls\/([\w-]{1,128})$/.exec(location)?.[1];
  return id === undefined ? null : `${url.replace(/\/?(?:\?.*)?$/s, '')}/${id}`;
}
