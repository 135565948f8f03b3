import t from 'tap';
import { createDenials } from '../../src/gateway/denials.ts';
import type { Fields } from '../../src/journal/journal.ts';

t.test('whoever floods the gateway with refusals hides none of another workspace', (t) => {
  const written: Fields[] = [];
  const denials = createDenials({
    append: async (_event, fields) => void written.push(fields),
    fullPerWindow: 2,
  });
  t.teardown(() => denials.stop());
  const by = (workspaceId: string | null) => ({
    workspaceId,
    tokenId: workspaceId === null ? null : 'tok_a',
    userId: null,
    keyId: null,
    code: 'SEAL_WRONG',
    clientIpHash: 'f00d',
    network: 'beef',
  });
  for (let n = 0; n < 10; n += 1) denials.note(by(null));
  for (let n = 0; n < 10; n += 1) denials.note(by('ws_a'));
  denials.note(by('ws_b'));
  t.same(
    written.map(({ workspaceId }) => workspaceId),
    [null, null, 'ws_a', 'ws_a', 'ws_b'],
  );
  written.length = 0;
  denials.flush();
  const summary = { code: 'SEAL_WRONG', summarized: 8, windowMs: 60_000 };
  t.same(written, [
    { workspaceId: null, ...summary },
    { workspaceId: 'ws_a', ...summary },
  ]);
  denials.flush();
  t.equal(written.length, 2, 'said once');
  t.end();
});
