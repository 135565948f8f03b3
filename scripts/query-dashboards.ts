import { readFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Test } from 'tap';
import { freePort } from '../bench/free-port.ts';
import { installProduct } from '../test/support/product.ts';
import { createMixedTraffic, type Tokens } from './dashboards/mixed-traffic.ts';
import { startPrometheus } from './dashboards/prometheus.ts';
import { alertQueries, panelQueries, variableQueries } from './dashboards/queries.ts';

// Every query of the dashboards, and what every alert looks at, asked of a real Prometheus that scrapes `bin/sallyport serve` under mixed
// traffic. Exits 1 when one is not understood, gives no number, or gives some although it is listed here as having none.

/** What a healthy gateway does not have: by the place of the query, and why. */
const nothing: readonly (readonly [where: string | RegExp, why: string])[] = [
  ['keys, Key services, A', 'its root keys are in a file'],
  ['SallyportRootKeyTrouble', 'its root keys are in a file'],
];
/** Scrapes: rates want two, and the rules are to be evaluated after that. */
const rounds = 8;

const ends: (() => unknown)[] = [];
const run: Pick<Test, 'teardown'> = { teardown: (end) => void ends.push(end as () => unknown) };
const wrong: string[] = [];
try {
  const traffic = await createMixedTraffic(run);
  const { origin: provider } = traffic.upstream;
  const metricsPort = await freePort();
  const product = await installProduct(run, {
    settings: {
      METRICS_PORT: String(metricsPort),
      SALLYPORT_OPENAI_ORIGIN: provider,
      SALLYPORT_GROQ_ORIGIN: provider,
      LOG_LEVEL: 'error',
    },
  });
  const { origin } = await product.serve();
  const tokens = JSON.parse(readFileSync(path.join(product.dataDir, 'first-start.json'), 'utf8')) as Tokens;
  const prometheus = await startPrometheus(`127.0.0.1:${metricsPort}`, await freePort());
  ends.push(() => prometheus.stop());
  await traffic.begin(origin, tokens);
  for (let round = 0; round < rounds; round += 1) {
    await traffic.round(origin, tokens);
    await pause(1000);
  }

  const queries = [...panelQueries(), ...variableQueries(), ...alertQueries()];
  let given = 0;
  for (const { where, expr } of queries) {
    const isListed = nothing.some(([listed]) =>
      typeof listed === 'string' ? listed === where : listed.test(where),
    );
    try {
      const hasData = (await prometheus.ask(expr)).some((value) => !Number.isNaN(value));
      if (hasData) given += 1;
      if (hasData === isListed)
        wrong.push(`${where}: ${hasData ? 'gives data, and is listed as empty' : 'gives nothing'}: ${expr}`);
    } catch (error) {
      wrong.push(`${where}: ${(error as Error).message}: ${expr}`);
    }
  }
  const rules = await prometheus.rules();
  for (const { name, health } of rules) if (health !== 'ok') wrong.push(`${name}: its health is ${health}`);
  // What this traffic calls for, and no more.
  const firing = rules.filter(({ state }) => state === 'firing').map(({ name }) => name);
  process.stdout.write(
    `${queries.length} queries, ${given} with data; ${rules.length} rules; firing: ${firing.join(', ')}\n`,
  );
  const expected = ['SallyportKeysRefused'];
  for (const name of firing) if (!expected.includes(name)) wrong.push(`${name} fires on a healthy gateway`);
  for (const name of expected) if (!firing.includes(name)) wrong.push(`${name} does not fire`);
  await traffic.end();
} finally {
  for (const end of ends.toReversed()) await end();
}
for (const line of wrong) process.stderr.write(`${line}\n`);
process.exitCode = wrong.length === 0 ? 0 : 1;
