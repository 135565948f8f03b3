import t from 'tap';
import { createGenuineAliases } from '../../src/gateway/genuine-aliases.ts';

const row = (alias: string, target: string, mac: string) => ({
  id: `alias_${alias}`,
  workspace_id: 'ws_1',
  alias,
  target,
  created_by: 'usr_1',
  mac: Buffer.from(mac),
  created_at: new Date(0),
});

t.test('tokens of one workspace share its aliases until a row changes, and never a forged one', async (t) => {
  const checked: string[] = [];
  const forged: string[] = [];
  const genuineAliases = createGenuineAliases({
    vault: {
      checkRowMac: async (_workspaceId, _table, _fields, mac) => {
        checked.push(mac.toString());
        return mac.toString() !== 'forged';
      },
    },
    onForgedRow: (_table, id) => forged.push(id),
  });
  const rows = () => [row('fast', 'openai/gpt-4o-mini', 'm1'), row('big', 'openai/gpt-5', 'm2')];
  const first = await genuineAliases('ws_1', rows());
  t.equal(await genuineAliases('ws_1', rows()), first);
  t.equal(checked.length, 2);
  t.not(await genuineAliases('ws_2', rows()), first, 'another workspace has its own');

  for (const changed of [
    [rows()[0] as ReturnType<typeof row>],
    [{ ...row('fast', 'groq/llama', 'm1') }, rows()[1] as ReturnType<typeof row>],
    [row('fast', 'openai/gpt-4o-mini', 'm3'), rows()[1] as ReturnType<typeof row>],
  ]) {
    const before = checked.length;
    t.not(await genuineAliases('ws_1', changed), first);
    t.equal(checked.length, before + changed.length, 'what changed is checked');
  }
  const bad = [row('fast', 'evil/x', 'forged')];
  t.same(await genuineAliases('ws_1', bad), []);
  t.same(await genuineAliases('ws_1', bad), []);
  t.same(forged, ['alias_fast', 'alias_fast'], 'and is told of each time');
});
