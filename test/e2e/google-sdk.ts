import { ApiError, GoogleGenAI, type Content } from '@google/genai';
import { weatherTool, type Connection, type Sdk } from './sdk.ts';

export function googleClient({ origin, token, base = '/google', headers }: Connection): GoogleGenAI {
  return new GoogleGenAI({
    apiKey: token ?? '',
    // The stand-in knows this version only; the SDK's own default is v1.
    apiVersion: 'v1beta',
    httpOptions: { baseUrl: origin + base, ...(headers === undefined ? {} : { headers }) },
  });
}

const tools = [
  {
    functionDeclarations: [
      {
        name: weatherTool.name,
        description: weatherTool.description,
        parametersJsonSchema: weatherTool.schema,
      },
    ],
  },
];

export const googleSdk: Sdk = {
  name: '@google/genai',
  provider: 'google',
  base: '/google',
  model: 'gemini-2.5-flash',
  connect(connection) {
    const client = googleClient(connection);
    const { model = googleSdk.model } = connection;
    const configOf = (abortSignal: AbortSignal | undefined) =>
      abortSignal === undefined ? {} : { config: { abortSignal } };
    return {
      async ask(prompt, signal) {
        const answer = await client.models.generateContent({ model, contents: prompt, ...configOf(signal) });
        return answer.text ?? '';
      },
      async *stream(prompt, signal) {
        const chunks = await client.models.generateContentStream({
          model,
          contents: prompt,
          ...configOf(signal),
        });
        for await (const chunk of chunks) yield chunk.text ?? '';
      },
      async useTool(prompt, run) {
        const asked: Content = { role: 'user', parts: [{ text: prompt }] };
        const first = await client.models.generateContent({ model, contents: [asked], config: { tools } });
        const parts = first.functionCalls!.map((call) => ({
          functionResponse: { ...call, response: { output: run(call.args!['city'] as string) } },
        }));
        const second = await client.models.generateContent({
          model,
          contents: [asked, first.candidates![0]!.content!, { role: 'user', parts }],
          config: { tools },
        });
        return second.text ?? '';
      },
      async streamTool(prompt) {
        const pieces: string[] = [];
        const chunks = await client.models.generateContentStream({
          model,
          contents: prompt,
          config: { tools },
        });
        // Gemini sends a call's arguments whole.
        for await (const chunk of chunks)
          for (const call of chunk.functionCalls ?? []) pieces.push(JSON.stringify(call.args));
        return pieces;
      },
    };
  },
  told(error) {
    const isOwn = error instanceof ApiError;
    // It shows the status and the body as text; headers it keeps to itself.
    return {
      isOwn,
      status: isOwn ? error.status : undefined,
      message: (error as Error).message,
      code: null,
      gatewayCode: null,
    };
  },
};
