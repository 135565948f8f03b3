import { spawnSync } from 'node:child_process';
import t from 'tap';
import { startGateway } from '../support/gateway.ts';
import { scriptUpstream } from '../support/upstream.ts';

const isThere = spawnSync('promtool', ['--version']).status === 0;

t.test(
  'Prometheus’s own checker takes what /metrics says after a call',
  { skip: isThere ? false : 'promtool is not installed' },
  async (t) => {
    const key = 'sk-test-promtool-0123456789';
    const upstream = await scriptUpstream(t, {
      key,
      script: [{ body: { usage: { prompt_tokens: 1, completion_tokens: 1 } } }],
    });
    const gateway = await startGateway(t, { upstreams: { openai: upstream.origin } });
    await gateway.addKey('openai', key);
    const response = await fetch(`${gateway.origin}/v1/chat/completions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${gateway.token}`, 'content-type': 'application/json' },
      body: '{"model":"gpt-4o","messages":[]}',
    });
    t.equal(response.status, 200);
    await response.text();
    await gateway.shipped();
    const text = await gateway.metrics();
    t.match(text, /^sallyport_calls_total\{provider="openai",operation="openai.chat",outcome="ok"\} 1$/m);
    const checked = spawnSync('promtool', ['check', 'metrics'], { input: text, encoding: 'utf8' });
    t.equal(checked.status, 0, checked.stderr);
  },
);
