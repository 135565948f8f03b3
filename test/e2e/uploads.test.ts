import { createHash, randomBytes } from 'node:crypto';
import { toFile as anthropicFile } from '@anthropic-ai/sdk';
import { transcribe } from 'ai';
import { GoogleGenAI } from '@google/genai';
import { toFile } from 'openai';
import t from 'tap';
import { ask } from '../support/http-client.ts';
import { scriptUpstream, type SeenRequest } from '../support/upstream.ts';
import { aiProvider } from './ai-sdk.ts';
import { anthropicClient } from './anthropic-sdk.ts';
import { groqClient } from './groq-sdk.ts';
import { openaiClient } from './openai-sdk.ts';
import { gatewayTo, providerKeys, startAimock } from './stand-in.ts';

/** 44 bytes of header and half a second of 8 kHz noise: the AI SDK looks at the first bytes. */
function wav(): Buffer {
  const sound = randomBytes(4000);
  const head = Buffer.alloc(44);
  head.write('RIFF', 0);
  head.writeUInt32LE(36 + sound.length, 4);
  head.write('WAVEfmt ', 8);
  head.writeUInt32LE(16, 16);
  head.writeUInt16LE(1, 20);
  head.writeUInt16LE(1, 22);
  head.writeUInt32LE(8000, 24);
  head.writeUInt32LE(8000, 28);
  head.writeUInt16LE(1, 32);
  head.writeUInt16LE(8, 34);
  head.write('data', 36);
  head.writeUInt32LE(sound.length, 40);
  return Buffer.concat([head, sound]);
}

/** A multipart body as a server reads it. */
function formOf({ body, headers }: SeenRequest): Promise<FormData> {
  const type = headers['content-type'] ?? '';
  return new Response(Uint8Array.from(body), { headers: { 'content-type': type } }).formData();
}

async function digestOf(blob: Blob): Promise<string> {
  return createHash('sha256')
    .update(Buffer.from(await blob.arrayBuffer()))
    .digest('hex');
}

t.test('files go through to an independent stand-in, and come back the same', async (t) => {
  const mock = await startAimock(t);
  mock.onTranscription({ transcription: { text: 'What was said.' } });
  const gateway = await gatewayTo(t, mock.url);

  t.test('openai: files.create, list, content, delete', async (t) => {
    const client = openaiClient(gateway);
    // Larger than any one read, and neither text nor a multiple of anything.
    const bytes = randomBytes(3 * 1024 * 1024 + 17);
    const made = await client.files.create({ file: await toFile(bytes, 'notes.bin'), purpose: 'user_data' });
    t.match(made, { filename: 'notes.bin', bytes: bytes.length });
    const back = await client.files.content(made.id);
    t.ok(Buffer.from(await back.arrayBuffer()).equals(bytes), 'the same bytes');
    t.ok((await client.files.list()).data.some(({ id }) => id === made.id));
    t.equal((await client.files.delete(made.id)).deleted, true);
  });

  t.test('openai, groq-sdk, ai: a transcription', async (t) => {
    const file = () => toFile(wav(), 'said.wav');
    const openai = await openaiClient(gateway).audio.transcriptions.create({
      file: await file(),
      model: 'whisper-1',
    });
    t.equal(openai.text, 'What was said.');
    const groq = await groqClient(gateway).audio.transcriptions.create({
      file: await file(),
      model: 'whisper-large-v3',
    });
    t.equal(groq.text, 'What was said.');
    const ai = await transcribe({ model: aiProvider(gateway).transcription('whisper-1'), audio: wav() });
    t.equal(ai.text, 'What was said.');
  });
});

t.test('@anthropic-ai/sdk: beta.files.upload arrives whole, with the beta that is asked for', async (t) => {
  const stored = {
    id: 'file_1',
    type: 'file',
    filename: 'notes.bin',
    mime_type: 'application/octet-stream',
    size_bytes: 1_048_583,
    created_at: '2026-01-01T00:00:00Z',
    downloadable: false,
  };
  const upstream = await scriptUpstream(t, { key: providerKeys.anthropic, script: [{ body: stored }] });
  const gateway = await gatewayTo(t, upstream.origin);
  const bytes = randomBytes(1_048_583);
  const made = await anthropicClient(gateway).beta.files.upload({
    file: await anthropicFile(bytes, 'notes.bin', { type: 'application/octet-stream' }),
    betas: ['files-api-2025-04-14'],
  });
  t.match(made, stored);
  const [seen] = upstream.requests;
  t.match(seen, {
    method: 'POST',
    path: /^\/v1\/files/,
    headers: { 'anthropic-beta': /files-api-2025-04-14/ },
  });
  const file = (await formOf(seen!)).get('file') as File;
  t.equal(file.name, 'notes.bin');
  t.equal(await digestOf(file), createHash('sha256').update(bytes).digest('hex'), 'the same bytes');
});

t.test('@google/genai', async (t) => {
  const upstream = await scriptUpstream(t, { key: providerKeys.google });
  const gateway = await gatewayTo(t, upstream.origin);
  // As users make it: the version is the SDK's own choice.
  const client = new GoogleGenAI({
    apiKey: gateway.token,
    httpOptions: { baseUrl: `${gateway.origin}/google` },
  });

  t.test('embeddings', async (t) => {
    upstream.respond([
      { body: { embeddings: [{ values: [0.25, -0.5] }], embedding: { values: [0.25, -0.5] } } },
    ]);
    const answer = await client.models.embedContent({ model: 'gemini-embedding-001', contents: 'hello' });
    t.same(answer.embeddings?.[0]?.values, [0.25, -0.5]);
  });

  t.test('the version that the SDK chooses itself is metered too', async (t) => {
    upstream.respond([
      {
        body: {
          candidates: [{ content: { role: 'model', parts: [{ text: 'Hello.' }] }, finishReason: 'STOP' }],
          usageMetadata: {
            promptTokenCount: 3,
            candidatesTokenCount: 2,
            thoughtsTokenCount: 4,
            totalTokenCount: 9,
          },
        },
      },
    ]);
    const answer = await client.models.generateContent({ model: 'gemini-2.5-flash', contents: 'hello' });
    t.equal(answer.text, 'Hello.');
    await gateway.shipped();
    const call = (await gateway.api('GET', '/usage/calls?limit=1')).body.data[0];
    t.match(call, {
      model: 'gemini-2.5-flash',
      inputTokens: 3,
      outputTokens: 6,
      reasoningTokens: 4,
      outcome: 'ok',
    });
  });

  t.test('the list of models', async (t) => {
    upstream.respond([{ body: { models: [{ name: 'models/gemini-2.5-flash' }] } }]);
    t.same(
      (await client.models.list()).page.map(({ name }) => name),
      ['models/gemini-2.5-flash'],
    );
  });

  t.test('a resumable upload goes on through the gateway, piece by piece', async (t) => {
    const bytes = randomBytes(9 * 1024 * 1024 + 5);
    const pieces: SeenRequest[] = [];
    upstream.respond((seen) => {
      if (seen.headers['x-goog-upload-command'] === 'start') {
        const url = `${upstream.origin}/upload/v1beta/files?upload_id=AB_c-1&upload_protocol=resumable`;
        return {
          headers: {
            'x-goog-upload-url': url,
            'x-goog-upload-control-url': url,
            'x-goog-upload-status': 'active',
          },
          body: {},
        };
      }
      pieces.push(seen);
      const isLast = seen.headers['x-goog-upload-command']?.includes('finalize') === true;
      return {
        headers: { 'x-goog-upload-status': isLast ? 'final' : 'active' },
        body: isLast ? { file: { name: 'files/f1', state: 'ACTIVE' } } : {},
      };
    });
    const file = await client.files.upload({ file: new Blob([bytes], { type: 'video/mp4' }) });
    t.equal(file.name, 'files/f1');
    t.ok(pieces.length > 1);
    t.ok(Buffer.concat(pieces.map(({ body }) => body)).equals(bytes));
    for (const { path, headers } of pieces) {
      t.equal(path, '/upload/v1beta/files?upload_id=AB_c-1&upload_protocol=resumable');
      t.equal(headers['x-goog-api-key'], providerKeys.google);
    }
    await gateway.shipped();
    const { data } = (await gateway.api('GET', `/usage/calls?limit=${pieces.length + 1}`)).body;
    t.ok(
      data.every((call: { operation: string }) => call.operation === 'google.files'),
      'each is on record',
    );
  });

  t.test('the URL of an upload is told as the gateway’s own, or not at all', async (t) => {
    const ours = async (url: string, headers = {}): Promise<string | null> => {
      upstream.respond([{ headers: { 'x-goog-upload-url': url }, body: {} }]);
      const answer = await ask(`${gateway.origin}/google/upload/v1beta/files`, {
        method: 'POST',
        headers: { 'x-goog-api-key': gateway.token, 'x-goog-upload-command': 'start', ...headers },
        body: {},
      });
      t.equal(answer.status, 200);
      return answer.header('x-goog-upload-url');
    };
    const path = '/upload/v1beta/files?upload_id=1';
    t.equal(await ours(upstream.origin + path), `${gateway.origin}/google${path}`);
    t.equal(
      await ours(upstream.origin + path, { host: 'llm.example:8443' }),
      `http://llm.example:8443/google${path}`,
    );
    const told = { 'x-forwarded-host': 'evil.example', 'x-forwarded-proto': 'https' };
    t.equal(
      await ours(upstream.origin + path, told),
      `${gateway.origin}/google${path}`,
      'nobody is believed',
    );
    for (const url of [
      `https://generativelanguage.googleapis.com${path}`,
      `${upstream.origin}.evil.example${path}`,
      `${upstream.origin}${path}&key=${providerKeys.google}`,
      `${upstream.origin.replace('//', '//user:pass@')}${path}`,
      `${upstream.origin}/v1beta/files?upload_id=1`,
      `${upstream.origin}${path}#x`,
      'not a url',
      `${upstream.origin}${path}${'x'.repeat(5000)}`,
    ])
      t.equal(await ours(url), null, url.slice(0, 80));
    for (const host of ['a/b', 'user@host', 'x y'])
      t.equal(await ours(upstream.origin + path, { host }), null, `host ${JSON.stringify(host)}`);
  });
});
