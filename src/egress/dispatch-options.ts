import type { Dispatcher } from 'undici';
import type { EgressRequest } from './request.ts';

/**
 * What undici is asked for.
 *
 * @param hop our own name, behind those of the gateways before us
 * @param placeholder stands for the key; null: there is none
 */
export function dispatchOptions(
  { method, path, headers, body, credential, upgrade, hops }: EgressRequest,
  hop: string,
  placeholder: string | null,
): Dispatcher.DispatchOptions {
  const all = [...headers, 'x-sallyport-hop', hops == null ? hop : `${hops}, ${hop}`];
  if (credential !== null && placeholder !== null)
    all.push(credential.header, credential.prefix + placeholder);
  return {
    method,
    path,
    headers: all,
    body,
    // Ours: answer-wait.ts.
    headersTimeout: 0,
    bodyTimeout: 0,
    ...(upgrade === undefined ? {} : { upgrade }),
  };
}
