import t from 'tap';
import { startGateway } from '../support/gateway.ts';
import { storeSeal } from '../support/sealed-key.ts';
import { sdks } from './sdks.ts';
import { providerKeys, startAimock } from './stand-in.ts';

t.setTimeout(60_000);

t.test(
  'unchanged SDKs carry a seal in their API key, and a provider key of their own in a header',
  async (t) => {
    const mock = await startAimock(t);
    mock.onMessage('hello', { content: 'Hello from the other side.' });
    const upstreams = { openai: mock.url, anthropic: mock.url, google: mock.url, groq: mock.url };
    const gateway = await startGateway(t, { upstreams });
    const { origin, token } = gateway;
    const seal = await storeSeal(gateway);
    for (const [provider, value] of Object.entries(providerKeys)) {
      gateway.watch(value);
      await gateway.addKey(provider, value, { protection: 'sealed', sealId: seal.id });
    }
    const { body: user } = await gateway.api('POST', '/users', { name: 'without keys' });
    const { body: keyless } = await gateway.api('POST', '/tokens', { name: 'x', userId: user.id });

    for (const sdk of sdks) {
      t.test(sdk.name, async (t) => {
        const sealed = sdk.connect({ origin, token: `${token}.${seal.secret}` });
        t.equal(await sealed.ask('hello'), 'Hello from the other side.');
        const pieces: string[] = [];
        for await (const piece of sealed.stream('hello')) pieces.push(piece);
        t.equal(pieces.join(''), 'Hello from the other side.', 'streamed');

        const refused = await sdk
          .connect({ origin, token })
          .ask('hello')
          .catch((error: unknown) => sdk.told(error));
        t.match(refused, { isOwn: true, status: 403, message: /is sealed, and no seal came/ });

        const headers = { 'x-sallyport-provider-key': providerKeys[sdk.provider] };
        const passed = sdk.connect({ origin, token: keyless.token, headers });
        t.equal(await passed.ask('hello'), 'Hello from the other side.', 'with a key of one’s own');
        const missing = await sdk
          .connect({ origin, token: keyless.token })
          .ask('hello')
          .catch((error: unknown) => sdk.told(error));
        t.match(missing, { status: 409 });
      });
    }
  },
);
