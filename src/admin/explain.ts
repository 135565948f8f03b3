import type { Caller } from './caller.ts';

/** A call that nobody makes, as it is asked about. */
export interface ExplainQuery {
  /** `tok_…` */
  readonly token: string;
  readonly model?: string | undefined;
  /** `/v1/chat/completions` unless told. */
  readonly endpoint?: string | undefined;
  readonly method?: string | undefined;
  readonly stream?: boolean | undefined;
  readonly seal?: boolean | undefined;
}

/** What the gateway would make of it; app.ts hands it in. */
export type ExplainCall = (
  token: { readonly workspaceId: string; readonly tokenId: string },
  supposed: {
    readonly model: string | null;
    readonly endpoint: string;
    readonly method: string;
    readonly isStream: boolean;
    readonly hasSeal: boolean;
  },
) => Promise<object>;

/** @param id of a token that the caller was found to see. */
export async function explainTo(
  explain: ExplainCall,
  { workspaceId }: Pick<Caller, 'workspaceId'>,
  id: string,
  query: ExplainQuery,
): Promise<object> {
  const supposed = {
    model: query.model ?? null,
    endpoint: query.endpoint ?? '/v1/chat/completions',
    method: query.method ?? 'POST',
    isStream: query.stream ?? false,
    hasSeal: query.seal ?? false,
  };
  return { tokenId: id, ...(await explain({ workspaceId, tokenId: id }, supposed)) };
}
