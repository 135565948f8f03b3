export interface ServerEvent {
  readonly id: string | null;
  readonly event: string | null;
  /** Null: a comment, or a new id alone. */
  readonly data: string | null;
}

/** Server-sent events (WHATWG HTML, 9.2) as the gateway writes them: lines end with a line feed, data is one line. */
export async function* readEvents(body: AsyncIterable<Buffer>): AsyncGenerator<ServerEvent> {
  const decoder = new TextDecoder();
  let text = '';
  for await (const chunk of body) {
    text += decoder.decode(chunk, { stream: true });
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      const lines = text.slice(0, end).split('\n');
      text = text.slice(end + 2);
      const field = (name: string): string | null =>
        lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2) ?? null;
      yield { id: field('id'), event: field('event'), data: field('data') };
    }
  }
}
