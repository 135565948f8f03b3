import t from 'tap';
import { startGateway } from '../support/gateway.ts';
import { scriptUpstream } from '../support/upstream.ts';

t.test('whoever writes names into the database sends no call to another origin', async (t) => {
  const [near, far] = [await scriptUpstream(t), await scriptUpstream(t)];
  const gateway = await startGateway(t, {
    settings: { SALLYPORT_ALLOW_ORIGINS: `${near.origin},${far.origin}` },
  });
  const custom = (name: string, origin: string) =>
    gateway.addKey('custom', '', { name, origins: [origin], auth: 'none', value: undefined });
  const [kept, taken] = [await custom('near', near.origin), await custom('far', far.origin)];
  const { token } = (await gateway.api('POST', '/tokens', { name: 'narrow', providers: ['near'] })).body;
  await gateway.database.owner('alter table provider_keys no force row level security');
  await gateway.database.owner(`update provider_keys set name = 'gone' where id = '${kept}'`);
  await gateway.database.owner(`update provider_keys set name = 'near' where id = '${taken}'`);

  const answer = await fetch(`${gateway.origin}/custom/near/v1/chat`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}` },
  });
  t.equal(answer.status, 409);
  t.equal(answer.headers.get('x-sallyport-code'), 'KEY_MISSING');
  t.equal(near.requests.length + far.requests.length, 0);
  t.match(gateway.logLines.join(''), /database\.forged-row/);
});
