import t from 'tap';
import { withClient } from '../../src/db/connection.ts';
import { startGateway } from '../support/gateway.ts';
import { ask } from '../support/http-client.ts';
import { lockWaits } from '../support/lock-waits.ts';
import { scriptUpstream } from '../support/upstream.ts';

const keyValue = 'sk-test-crowded-0123456789abcdef0123456789';

t.test(
  'however much is asked of the admin side, calls and the ends of rights wait for none of it',
  async (t) => {
    const upstream = await scriptUpstream(t, { key: keyValue, script: () => ({ body: { choices: [] } }) });
    const gateway = await startGateway(t, { upstreams: { openai: upstream.origin } });
    await gateway.addKey('openai', keyValue);
    const tokens: { id: string; token: string }[] = [];
    for (const name of ['one', 'two']) {
      const { body } = await gateway.api('POST', '/tokens', { name, requestsPerMinute: 60_000 });
      tokens.push({ id: body.id, token: body.token });
    }
    const [one, two] = tokens as [(typeof tokens)[0], (typeof tokens)[0]];
    const callOf = async (token: string) =>
      (
        await ask(`${gateway.origin}/v1/chat/completions`, {
          headers: { 'x-api-key': token },
          body: { model: 'gpt-4o', messages: [] },
        })
      ).status;
    t.equal(await callOf(two.token), 200);

    const asked = await withClient(gateway.database.connection, async (client) => {
      await client.query('begin');
      await client.query('lock table webhooks in access exclusive mode');
      const listed = Array.from({ length: 40 }, () => gateway.api('GET', '/webhooks'));
      await lockWaits(gateway.database.store, ['webhooks'], 7);
      t.equal(await callOf(one.token), 200, 'a token that was not in use');
      await gateway.database.owner(
        `begin; alter table tokens no force row level security; delete from tokens where id = '${two.id}'; update epoch set value = value + 1; alter table tokens force row level security; commit`,
      );
      let status = 200;
      while (status === 200) status = await callOf(two.token);
      t.equal(status, 401, 'a token that is gone');
      await client.query('rollback');
      return { listed };
    });
    for (const { status } of await Promise.all(asked.listed)) t.equal(status, 200);
  },
);
