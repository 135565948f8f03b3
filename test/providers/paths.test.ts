import t from 'tap';
import { rememberedByPath } from '../../src/providers/by-path.ts';
import { canonicalSegments } from '../../src/providers/canonical-path.ts';
import { providers } from '../../src/providers/catalogue.ts';
import type { Provider } from '../../src/providers/provider.ts';

const provider = (name: string): Provider => providers.get(name) as Provider;

t.test('endpoints that hand out credentials are refused at every provider', async (t) => {
  const refused = [
    '/v1/realtime/client_secrets',
    '/v1/realtime/sessions',
    '/v1/realtime/transcription_sessions',
    '/v1/realtime/translations/client_secrets',
    '/v1/chatkit/sessions',
    '/v1/organization/admin_api_keys',
    '/v1/organization/projects/p/api_keys',
    '/v1/organizations/api_keys',
    '/v1/organizations/me',
    '/openai/v1/realtime/client_secrets',
    '/v1/api-key',
    '/v1alpha/auth_tokens',
    '/v1alpha/authTokens',
    '/v1/oauth/token',
    '/v1/tunnels/t/reveal_token',
    '/v1beta/webhooks/w:rotateSigningSecret',
    '/v1/webhook_endpoints/whe_1/rotate_secret',
  ];
  for (const each of providers.values()) {
    for (const path of refused) t.ok(each.isRefusedPath('POST', path), `${each.name} ${path}`);
  }
});

t.test('what only one provider has is refused there, and is somebody’s path elsewhere', async (t) => {
  const cases: readonly (readonly [string, string, string])[] = [
    ['openai', 'GET', '/v1/projects/proj_1/roles'],
    ['openai', 'POST', '/v1/projects/proj_1/users/user_1/roles'],
    ['openai', 'DELETE', '/v1/projects/proj_1/groups/group_1/roles/role_1'],
    ['openai', 'POST', '/v1/fine_tuning/checkpoints/ft:gpt:1/permissions'],
    ['openai', 'DELETE', '/v1/fine_tuning/checkpoints/c/permissions/p'],
    ['openai', 'GET', '/v1/dashboard/billing/usage'],
    ['openai', 'GET', '/dashboard/billing/usage'],
    ['openai', 'GET', '/v1/%70rojects/proj_1'],
    ['openai', 'GET', '/v1/files/..//projects/proj_1'],
    ['openai', 'POST', '/v1/webhook_endpoints'],
    ['anthropic', 'GET', '/v1/compliance/activities'],
    ['anthropic', 'GET', '/v1/environments/env_1/work/poll'],
    ['google', 'POST', '/v1beta/webhooks'],
    ['google', 'POST', '/batch'],
    ['google', 'POST', '/batch/v1beta'],
    ['google', 'POST', '/v1beta/batch'],
  ];
  for (const [name, method, path] of cases) {
    t.ok(provider(name).isRefusedPath(method, path), `${name} ${method} ${path}`);
    t.notOk(provider('groq').isRefusedPath(method, path), `groq ${method} ${path}`);
    t.notOk(provider('custom').isRefusedPath(method, path), `custom ${method} ${path}`);
  }
  t.notOk(provider('openai').isRefusedPath('GET', '/v1/fine_tuning/checkpoints/c'));
  t.notOk(provider('openai').isRefusedPath('POST', '/v1/fine_tuning/jobs'));
  t.notOk(provider('google').isRefusedPath('GET', '/v1beta/webhooks/w'));
  t.notOk(provider('openai').isRefusedPath('GET', '/v1/webhook_endpoints'));
  t.notOk(provider('anthropic').isRefusedPath('GET', '/v1/environments/env_1/work/work_1'));
});

t.test('no spelling of a refused path gets through', async (t) => {
  const tricks = [
    '/v1//realtime///client_secrets',
    '/v1/realtime/client_secrets/',
    '/v1/realtime/client%5Fsecrets',
    '/v1/realtime/client%255Fsecrets',
    '/v1/realtime%2Fclient_secrets',
    '/v1/realtime%5Cclient_secrets',
    '/v1/realtime\\client_secrets',
    '/v1/files/../realtime/sessions',
    '/v1/files/%2e%2e/realtime/sessions',
    '/v1/./realtime/./sessions',
    '/v1/REALTIME/Sessions',
    '/v1/realtime;a=b/sessions;c',
    '/v1/realtime/sessions?x=/chat',
    '/v1/realtime/sessions%3Fx',
    '/v1/realtime/sessions%00',
    '/v1/realtime/sessions%20',
    '/v1/%6Frganization/users',
    '/v1/organization%2Fusers',
    '//v1//organization',
  ];
  for (const path of tricks) {
    t.ok(provider('openai').isRefusedPath('POST', path), path);
    t.ok(provider('custom').isRefusedPath('GET', path), path);
  }
});

t.test('ordinary paths are not refused', async (t) => {
  const allowed = [
    '/v1/chat/completions',
    '/v1/responses/resp_1/input_items',
    '/v1/realtime?model=gpt-realtime',
    '/v1/realtime/calls',
    '/v1/models/organization-gpt',
    '/v1/messages/batches',
    '/v1beta/models/gemini-2.5-flash:generateContent',
    '/v1/chat/completions?return=/v1/organization',
    '/v1/threads/sessions',
    '',
    '/',
    '/%',
    '/%zz',
  ];
  for (const path of allowed) t.notOk(provider('openai').isRefusedPath('POST', path), path);
});

t.test('a path is read as the most lenient server would read it', async (t) => {
  t.same(canonicalSegments('/a//b/../c/./D%2fe;x=1/f?g=/h'), ['a', 'c', 'd', 'e', 'f']);
  t.same(canonicalSegments('/../../a'), ['a']);
  t.same(canonicalSegments(`/${'%25'.repeat(50)}41`).length, 1, 'decoding has an end');
});

t.test('operations are named by method and path, wherever the API stands', async (t) => {
  const cases: readonly (readonly [string, string, string])[] = [
    ['openai', '/v1/chat/completions', 'openai.chat'],
    ['openai', '/v1/chat/completions?x=1', 'openai.chat'],
    ['openai', '/v1/responses', 'openai.responses'],
    ['openai', '/v1/responses/compact', 'openai.responses'],
    ['openai', '/v1/responses/input_tokens', 'openai.input_tokens'],
    ['openai', '/v1/responses/resp_1/cancel', 'openai.stored_responses'],
    ['openai', '/v1/chat/completions/chatcmpl-1', 'openai.stored_chat'],
    ['openai', '/v1/embeddings', 'openai.embeddings'],
    ['openai', '/v1/images/generations', 'openai.images'],
    ['openai', '/v1/audio/transcriptions', 'openai.transcriptions'],
    ['openai', '/v1/models/v1', 'openai.models'],
    ['openai', '/v1/chatter', 'openai.other'],
    ['groq', '/openai/v1/chat/completions', 'openai.chat'],
    ['groq', '/openai/v1/models', 'openai.models'],
    ['xai', '/v1/chat/completions', 'openai.chat'],
    ['custom', '/chat/completions', 'openai.chat'],
    ['custom', '/api/v3/chat/completions', 'openai.chat'],
    ['custom', '/api/chat', 'ollama.chat'],
    ['custom', '/v2/chat', 'custom.chat'],
    ['custom', '/v2/rerank', 'custom.rerank'],
    ['anthropic', '/v1/messages', 'anthropic.messages'],
    ['anthropic', '/v1/messages/count_tokens', 'anthropic.count_tokens'],
    ['anthropic', '/v1/messages/batches/b/results', 'anthropic.batches'],
    ['anthropic', '/v1/models', 'anthropic.models'],
    ['google', '/v1beta/models/g:generateContent', 'google.generate_content'],
    ['google', '/v1/models/g:streamGenerateContent?alt=sse', 'google.stream_generate_content'],
    ['google', '/v1beta/tunedModels/g:generateContent', 'google.generate_content'],
    ['google', '/v1beta/models/g:embedContent', 'google.embed_content'],
    ['google', '/v1beta/models/g:batchEmbedContents', 'google.batch_embed_contents'],
    ['google', '/v1beta/models/g:countTokens', 'google.count_tokens'],
    ['google', '/v1beta/models/g:somethingNew', 'google.other'],
    ['google', '/v1beta/models', 'google.models'],
    ['google', '/v1beta/openai/chat/completions', 'openai.chat'],
    ['google', '/upload/v1beta/files', 'google.files'],
  ];
  for (const [name, path, operation] of cases) {
    t.equal(provider(name).operation('POST', path), operation, `${name} ${path}`);
    t.ok(provider(name).operations.includes(operation), `${operation} is one of its set`);
  }
  // Whoever reads an answer again is not charged for it again.
  t.equal(provider('openai').operation('GET', '/v1/responses/resp_1'), 'openai.stored_responses');
  t.equal(provider('openai').operation('GET', '/v1/chat/completions'), 'openai.stored_chat');
  t.equal(provider('openai').usageReader('openai.stored_responses'), null);
  const google = provider('google');
  t.equal(google.operation('POST', '/v1beta/interactions'), 'google.interactions');
  t.equal(google.operation('GET', '/v1beta/interactions/i1'), 'google.stored_interactions');
  t.equal(google.operation('POST', '/v1beta/interactions/i1/cancel'), 'google.stored_interactions');
  const batch = '/v1beta/models/g:batchGenerateContent';
  t.equal(google.operation('POST', batch), 'google.batch_generate_content');
  t.ok(google.isStatefulPath('POST', batch), 'it leaves a batch that others could list');
});

t.test('objects that stay in the account are told from calls that leave nothing', async (t) => {
  const stateful: readonly (readonly [string, string, string])[] = [
    ['openai', 'GET', '/v1/files'],
    ['openai', 'POST', '/v1/files'],
    ['openai', 'POST', '/v1/batches'],
    ['openai', 'GET', '/v1/responses/resp_1'],
    ['openai', 'DELETE', '/v1/responses/resp_1'],
    ['openai', 'GET', '/v1/chat/completions'],
    ['openai', 'POST', '/v1/assistants'],
    ['openai', 'POST', '/v1/threads/runs'],
    ['openai', 'GET', '/v1/vector_stores'],
    ['openai', 'GET', '/v1/fine_tuning/jobs'],
    ['openai', 'DELETE', '/v1/models/ft:gpt'],
    ['openai', 'GET', '/v1/something_new'],
    ['openai', 'GET', '/v1/%66iles'],
    ['openai', 'POST', '/v1/conversations'],
    ['openai', 'GET', '/v1/conversations/conv_1/items'],
    ['openai', 'POST', '/v1/containers'],
    ['openai', 'POST', '/v1/videos'],
    ['openai', 'GET', '/v1/videos/video_1/content'],
    ['openai', 'POST', '/v1/evals'],
    ['openai', 'POST', '/v1/skills'],
    ['openai', 'POST', '/v1/uploads'],
    ['openai', 'POST', '/v1/responses/resp_1/cancel'],
    ['openai', 'POST', '/v1/realtime/calls/rtc_1/hangup'],
    ['openai', 'POST', '/v1/chat/completions/c_1'],
    ['groq', 'GET', '/openai/v1/batches'],
    ['groq', 'POST', '/openai/v1/files'],
    ['groq', 'GET', '/openai/v1/fine_tunings'],
    ['xai', 'GET', '/v1/chat/deferred-completion/1'],
    ['xai', 'POST', '/v1/videos/generations'],
    ['xai', 'GET', '/v1/videos/request_1'],
    ['xai', 'POST', '/v1/batches/b/requests'],
    ['xai', 'GET', '/v1/files'],
    ['xai', 'GET', '/v1/responses/resp_1'],
    ['anthropic', 'GET', '/v1/messages/batches'],
    ['anthropic', 'POST', '/v1/messages/batches'],
    ['anthropic', 'GET', '/v1/files'],
    ['anthropic', 'POST', '/v1/skills'],
    ['anthropic', 'POST', '/v1/sessions'],
    ['anthropic', 'GET', '/v1/agents'],
    ['anthropic', 'GET', '/v1/environments'],
    ['anthropic', 'GET', '/v1/vaults/vlt_1/credentials'],
    ['anthropic', 'GET', '/v1/memory_stores'],
    ['google', 'GET', '/v1beta/files'],
    ['google', 'POST', '/v1beta/interactions'],
    ['google', 'GET', '/v1beta/interactions/i'],
    ['google', 'GET', '/v1beta/fileSearchStores'],
    ['google', 'GET', '/v1beta/tunedModels'],
    ['google', 'POST', '/v1beta/models/veo:predictLongRunning'],
    ['google', 'GET', '/v1beta/models/veo/operations'],
    ['google', 'GET', '/v1beta/models/veo/operations/o'],
    ['google', 'POST', '/upload/v1beta/files'],
    ['google', 'GET', '/v1beta/cachedContents'],
    ['google', 'POST', '/v1beta/models/g:batchGenerateContent'],
    ['google', 'GET', '/v1beta/openai/files'],
    ['custom', 'GET', '/v1/files'],
    ['custom', 'GET', '/v1/responses/resp_1'],
    ['custom', 'GET', '/v1/chat/completions'],
    ['custom', 'GET', '/v1/videos'],
    ['custom', 'GET', '/v1beta/fileSearchStores'],
  ];
  const stateless: readonly (readonly [string, string, string])[] = [
    ['openai', 'POST', '/v1/chat/completions'],
    ['openai', 'POST', '/v1/responses'],
    ['openai', 'POST', '/v1/audio/transcriptions'],
    ['openai', 'GET', '/v1/models'],
    ['openai', 'GET', '/v1/models/gpt-4o'],
    ['openai', 'POST', '/v1/realtime?model=x'],
    ['groq', 'POST', '/openai/v1/chat/completions'],
    ['anthropic', 'POST', '/v1/messages'],
    ['anthropic', 'POST', '/v1/messages/count_tokens'],
    ['google', 'POST', '/v1beta/models/g:generateContent'],
    ['google', 'GET', '/v1beta/models'],
    ['google', 'POST', '/v1beta/openai/chat/completions'],
    ['custom', 'POST', '/api/chat'],
    ['custom', 'GET', '/api/tags'],
    ['custom', 'POST', '/v1/responses'],
  ];
  for (const [name, method, path] of stateful)
    t.ok(provider(name).isStatefulPath(method, path), `${name} ${path}`);
  for (const [name, method, path] of stateless)
    t.notOk(provider(name).isStatefulPath(method, path), `${name} ${path}`);
});

t.test('what is decided once is told of that method and path alone, however many come between', async (t) => {
  let decided = 0;
  const decide = rememberedByPath((method, path) => {
    decided += 1;
    return `${method} ${path}`;
  });
  const methods = ['GET', 'POST', 'get', 'TRACE', '__proto__'];
  const paths = ['/v1/a', '/v1/A', '/v1/a/', '__proto__', `/v1/${'a'.repeat(200)}`];
  const many = Array.from({ length: 700 }, (_, n) => `/v1/${n}`);
  const wrong: string[] = [];
  for (const list of [paths, paths, many, paths, many])
    for (const path of list)
      for (const method of methods)
        if (decide(method, path) !== `${method} ${path}`) wrong.push(`${method} ${path}`);
  t.same(wrong, []);
  decided = 0;
  for (let i = 0; i < 9; i += 1) decide('GET', '/v1/again');
  t.equal(decided, 1);
});
