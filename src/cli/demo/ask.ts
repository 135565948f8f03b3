/**
 * The official client, unchanged but for base URL and key. It is loaded here and only when the demo runs: it is a tool of
 * development, absent from an install without those.
 */
export async function createAsker(baseUrl: string, token: string) {
  const { OpenAI } = await import('openai').catch((error: unknown) => {
    throw new Error('the openai package is not installed; run npm ci without --omit=dev', { cause: error });
  });
  const client = new OpenAI({ baseURL: `${baseUrl}/v1`, apiKey: token, maxRetries: 0 });
  const messages = [{ role: 'user' as const, content: 'What is a sally port?' }];
  const model = 'gpt-4o-mini';

  return Object.freeze({
    /** @returns when each chunk of text arrived, on the clock of `performance.now()`. */
    async stream(
      onText: (text: string) => void,
      signal: AbortSignal,
    ): Promise<{ arrivals: number[]; text: string }> {
      const arrivals: number[] = [];
      let text = '';
      const chunks = await client.chat.completions.create({ model, messages, stream: true }, { signal });
      for await (const chunk of chunks) {
        const piece = chunk.choices[0]?.delta.content ?? '';
        if (piece === '') continue;
        arrivals.push(performance.now());
        text += piece;
        onText(piece);
      }
      return { arrivals, text };
    },

    async whole(signal: AbortSignal): Promise<string> {
      const answer = await client.chat.completions.create({ model, messages }, { signal });
      return answer.choices[0]?.message.content ?? '';
    },
  });
}
