import { parseArgs } from 'node:util';
import type { Test } from 'tap';
import { rotateUnderLoad } from '../test/product/rotation-run.ts';
import { startGateway } from '../test/support/gateway.ts';
import { scriptUpstream } from '../test/support/upstream.ts';

// The long form of test/product/rotation-load.test.ts: exchanges the root key of 100 000 workspaces under load. Exits 1 when a call failed.
const { values } = parseArgs({
  options: {
    workspaces: { type: 'string', default: '100000' },
    callers: { type: 'string', default: '16' },
  },
});
const key = 'sk-proj-abcdefghijklmnopqrstuvwxyz0123456789';
const ends: (() => unknown)[] = [];
const run = { teardown: (end: () => unknown) => void ends.push(end) } as unknown as Test;
try {
  const upstream = await scriptUpstream(run, { key });
  const gateway = await startGateway(run, {
    upstreams: { openai: upstream.origin },
    settings: { LOG_LEVEL: 'error' },
  });
  const found = await rotateUnderLoad(gateway, {
    workspaces: Number(values.workspaces),
    callers: Number(values.callers),
    warmSeconds: 3,
    key,
  });
  process.stdout.write(`${JSON.stringify(found, null, 2)}\n`);
  process.exitCode = found.failed.length === 0 ? 0 : 1;
} finally {
  for (const end of ends.toReversed()) await end();
}
