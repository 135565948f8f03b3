import t from 'tap';
import { startGateway } from '../support/gateway.ts';
import { scriptUpstream } from '../support/upstream.ts';
import { rotateUnderLoad } from './rotation-run.ts';

const key = 'sk-proj-abcdefghijklmnopqrstuvwxyz0123456789';

// The short form of scripts/rotation-load.ts, whose long form has 100 000 workspaces.
t.test('the root key is exchanged under load, and no call fails', async (t) => {
  const upstream = await scriptUpstream(t, { key });
  const gateway = await startGateway(t, { upstreams: { openai: upstream.origin } });
  const found = await rotateUnderLoad(gateway, { workspaces: 2000, callers: 6, warmSeconds: 0.5, key });
  t.strictSame(found.failed, []);
  t.ok(found.rows >= 2000, `${found.rows} rows`);
  t.ok(
    found.calls > 50 && found.workspacesMade > 0,
    `${found.calls} calls, ${found.workspacesMade} workspaces`,
  );
  t.comment(JSON.stringify(found));
});
