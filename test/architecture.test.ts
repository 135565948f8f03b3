import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';

/** The rooms of DESIGN.md: imports point down, never sideways between rooms of one layer. */
const layers: Readonly<Record<string, number>> = {
  db: 1,
  egress: 1,
  telemetry: 1,
  dialects: 1,
  vault: 2,
  journal: 2,
  limits: 2,
  providers: 2,
  gateway: 3,
  admin: 3,
  backup: 3,
  routes: 4,
  cli: 5,
  workers: 5,
};
/** Files directly under src: the bottom, which imports nothing of ours above it, and the top, which knows everyone. */
const bottom = new Set([
  'config.ts',
  'content-coding.ts',
  'setting-kinds.ts',
  'setting-table.ts',
  'name-pattern.ts',
  'near-name.ts',
  'errors.ts',
  'ids.ts',
  'roster.ts',
  'ip-words.ts',
  'memory.ts',
  'secret.ts',
  'seal-text.ts',
  'token-policy.ts',
]);

/** One owner for each danger: package or builtin → files (by prefix) that may import it. */
const owners: readonly (readonly [RegExp, readonly string[]])[] = [
  [/^undici$/, ['egress/']],
  [/^pg$/, ['db/']],
  [/^kysely/, ['db/', 'vault/', 'journal/', 'gateway/', 'admin/']],
  [/^(pino|prom-client|@opentelemetry\/.*)$/, ['telemetry/']],
  [/^(fastify|@fastify\/.*|typebox.*)$/, ['routes/']],
  [/^(node:)?child_process$/, ['db/embedded', 'cli/demo/']],
  [
    /^(node:)?(fs|fs\/promises)$/,
    [
      'config.ts',
      // Makes DATA_DIR.
      'installation.ts',
      'journal/',
      'db/embedded',
      'vault/keyring-file.ts',
      'routes/tls.ts',
      // Writes to a descriptor that is open.
      'telemetry/log-sink.ts',
      // Reads its own program.
      'dialects/json-scan.ts',
      'backup/',
      'cli/',
    ],
  ],
  [/^(node:)?cluster$/, ['workers/', 'program.ts']],
  [/^nodemailer$/, ['egress/']],
  [/^openai$/, ['cli/demo/']],
  [/^age-encryption$/, ['vault/age.ts']],
];

/** What a file may do only in the room that owns the danger, found by name in its text. */
const words: readonly (readonly [RegExp, readonly string[]])[] = [
  [/\bprocess\.env\b/, ['main.ts', 'cli/demo/']],
  [/\bcreate(De|C)ipheriv\b/, ['vault/']],
  [/\b(hkdfSync|hkdf|diffieHellman)\(/, ['vault/']],
  [/\bopenRecord\(/, ['vault/']],
  [/\bWebAssembly\b/, ['dialects/json-scan.ts']],
  [/\bconsole\.\w+\(/, []],
];

interface File {
  readonly name: string;
  readonly text: string;
  readonly code: string;
  readonly imports: readonly string[];
}

const root = path.join(import.meta.dirname, '..', 'src');
const files: readonly File[] = readdirSync(root, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts'))
  .map((name) => {
    const text = readFileSync(path.join(root, name), 'utf8');
    const code = text.replaceAll(/\/\*[\s\S]*?\*\//g, '').replaceAll(/(^|\s)\/\/.*$/gm, '');
    const imports = [...code.matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)].map(
      (match) => match[1] as string,
    );
    return { name: name.split(path.sep).join('/'), text, code, imports };
  });

const roomOf = (name: string): string => (name.includes('/') ? name.slice(0, name.indexOf('/')) : '');

function layerOf(name: string): number {
  const room = roomOf(name);
  if (room !== '') return layers[room] ?? -1;
  return bottom.has(name) ? 0 : 5;
}

t.test('every folder of src is a room with a layer', async (t) => {
  for (const file of files) t.not(layerOf(file.name), -1, file.name);
});

t.test('imports point down and never sideways between rooms', async (t) => {
  for (const file of files) {
    for (const target of file.imports) {
      if (!target.startsWith('.')) continue;
      const to = path.posix.join(path.posix.dirname(file.name), target);
      const [from, into] = [layerOf(file.name), layerOf(to)];
      const isSameRoom = roomOf(file.name) === roomOf(to) && roomOf(to) !== '';
      const isTop = from === 5;
      t.ok(isSameRoom || into < from || isTop || (from === 0 && into === 0), `${file.name} imports ${to}`);
    }
  }
});

t.test('egress never imports the vault, and the gateway and admin never each other', async (t) => {
  for (const file of files) {
    const to = file.imports.filter((target) => target.startsWith('.')).join(' ');
    if (file.name.startsWith('egress/')) t.notMatch(to, /vault/, file.name);
    if (file.name.startsWith('gateway/')) t.notMatch(to, /admin/, file.name);
    if (file.name.startsWith('admin/')) t.notMatch(to, /gateway/, file.name);
  }
});

t.test('each danger has one owner', async (t) => {
  for (const file of files) {
    for (const [what, rooms] of owners) {
      if (!file.imports.some((target) => what.test(target))) continue;
      t.ok(
        rooms.some((room) => file.name.startsWith(room)),
        `${file.name} imports ${what.source}`,
      );
    }
    for (const [what, rooms] of words) {
      if (!what.test(file.code)) continue;
      t.ok(
        rooms.some((room) => file.name.startsWith(room)),
        `${file.name} has ${what.source}`,
      );
    }
  }
});

t.test('the opener of payloads is used by the vault alone and handed on by it', async (t) => {
  for (const file of files) {
    if (file.name.startsWith('vault/')) continue;
    t.notOk(
      file.imports.some((target) => target.endsWith('vault/open.ts')),
      `${file.name} reaches round the vault`,
    );
  }
});

t.test(
  'no file is over 300 lines without a reason in its head, and none has a name that says nothing',
  async (t) => {
    for (const file of files) {
      const lines = file.text.split('\n').length;
      t.ok(
        lines <= 300 || /^\/\*\*?[\s\S]{0,600}over 300 lines/i.test(file.text),
        `${file.name} has ${lines} lines`,
      );
      if (file.name !== 'db/types.ts')
        t.notMatch(file.name, /(^|\/)(utils?|helpers?|common|types|index|misc)\.ts$/);
    }
  },
);

t.test('migrations import kysely and nothing of ours', async (t) => {
  const folder = path.join(root, '..', 'migrations');
  for (const name of readdirSync(folder)) {
    const text = readFileSync(path.join(folder, name), 'utf8');
    for (const [, target] of text.matchAll(/from '([^']+)'/g)) t.match(target, /^kysely/, name);
  }
});
