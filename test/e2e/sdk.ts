/** What every official SDK is put through. A driver turns these into its SDK's own calls and changes nothing about the SDK. */
export interface Sdk {
  /** The package. */
  readonly name: string;
  readonly provider: 'openai' | 'anthropic' | 'google' | 'groq';
  /** What stands behind the gateway's origin in the SDK's base URL. */
  readonly base: string;
  readonly model: string;
  connect(connection: Connection): Session;
  told(error: unknown): Told;
}

export interface Connection {
  readonly origin: string;
  /** null: the SDK is told to send none. */
  readonly token: string | null;
  readonly base?: string;
  readonly model?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface Session {
  /** One answer, whole. */
  ask(prompt: string, signal?: AbortSignal): Promise<string>;
  /** One answer in pieces of text. */
  stream(prompt: string, signal?: AbortSignal): AsyncIterable<string>;
  /** The model calls `get_weather`, is given the result of `run`, and answers with text. */
  useTool(prompt: string, run: (city: string) => string): Promise<string>;
  /** The pieces of the tool call's arguments, as they are streamed. */
  streamTool(prompt: string): Promise<readonly string[]>;
  readonly embed?: (text: string) => Promise<readonly number[]>;
  readonly models?: () => Promise<readonly string[]>;
}

/** What a program that uses the SDK can see of an error. */
export interface Told {
  /** Of the class that the SDK documents for API errors. */
  readonly isOwn: boolean;
  readonly status: number | undefined;
  readonly message: string;
  /** Out of the body, where the dialect has a place for it. */
  readonly code: string | null;
  /** `x-sallyport-code`, where the SDK shows headers. */
  readonly gatewayCode: string | null;
}

export const weatherTool = {
  name: 'get_weather',
  description: 'The weather in a city now.',
  schema: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
} as const;

export function cityOf(json: string): string {
  return (JSON.parse(json) as { city: string }).city;
}
