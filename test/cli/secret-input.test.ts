import { PassThrough, Readable } from 'node:stream';
import t from 'tap';
import { askSecret, readSecret, readSecrets } from '../../src/cli/secret-input.ts';

function keyboard() {
  const input = Object.assign(new PassThrough(), {
    isTTY: true,
    modes: [] as boolean[],
    setRawMode: (mode: boolean) => void input.modes.push(mode),
  });
  const shown: string[] = [];
  const error = new PassThrough().on('data', (chunk: Buffer) => shown.push(chunk.toString()));
  return { input, shown, terminal: { input, output: new PassThrough(), error } };
}

function piped(...chunks: Buffer[]) {
  return {
    input: Readable.from(chunks, { objectMode: true }),
    output: new PassThrough(),
    error: new PassThrough(),
  };
}

t.test('a piped key comes back without blanks around it, and the chunks are wiped', async (t) => {
  const chunks = [Buffer.from('  sk-'), Buffer.from('abc"\\def\r'), Buffer.from('\n\n')];
  const secret = await readSecret(piped(...chunks), '');
  t.equal(secret.toString('latin1'), 'sk-abc"\\def');
  t.ok(chunks.every((chunk) => chunk.every((byte) => byte === 0)));
});

t.test('nothing, blanks alone, and more than a key can be are refused', async (t) => {
  await t.rejects(readSecret(piped(), ''), { code: 'REQUEST_INVALID' });
  await t.rejects(readSecret(piped(Buffer.from(' \n')), ''), { code: 'REQUEST_INVALID' });
  await t.rejects(
    readSecret(piped(Buffer.alloc(10_000, 97), Buffer.alloc(10_000, 97)), ''),
    /more than 16384 bytes/,
  );
});

t.test('a typed key is asked for, never shown, and can be mended', async (t) => {
  const { input, shown, terminal } = keyboard();
  const asked = readSecret(terminal, 'Paste: ');
  input.write('wrong\u0015');
  input.write('sk-abx\u007fc\r');
  t.equal((await asked).toString('latin1'), 'sk-abc');
  t.same(input.modes, [true, false], 'the terminal is as before');
  t.equal(shown.join(''), 'Paste: \n');
});

t.test('Ctrl-C and Ctrl-D give up and leave the terminal as before', async (t) => {
  for (const stroke of ['abc\u0003', '\u0004']) {
    const { input, terminal } = keyboard();
    const asked = readSecret(terminal, 'Paste: ');
    input.write(stroke);
    await t.rejects(asked, /Given up/);
    t.same(input.modes, [true, false]);
  }
});

t.test('two secrets are two lines, or two questions', async (t) => {
  const [first, second] = await readSecrets(
    piped(Buffer.from('one\r\n\n two'), Buffer.from('\n')),
    ['', ''],
    'key',
  );
  t.same([String(first), String(second)], ['one', 'two']);
  for (const text of ['one\n', 'one\ntwo\nthree\n', ''])
    await t.rejects(readSecrets(piped(Buffer.from(text)), ['', ''], 'key'), /2 lines/);
  const { input, shown, terminal } = keyboard();
  const asked = readSecrets(terminal, ['First: ', 'Second: '], 'key');
  terminal.error.on('data', (text: Buffer) => String(text) === 'Second: ' && input.write('two\r'));
  input.write('one\r');
  t.same((await asked).map(String), ['one', 'two']);
  t.equal(shown.join(''), 'First: \nSecond: \n');
});

t.test('on a terminal a question may be left without an answer, and elsewhere it is not asked', async (t) => {
  const { input, terminal } = keyboard();
  const asked = askSecret(terminal, 'Seal: ');
  input.write('\r');
  t.equal(await asked, null);
  t.equal(await askSecret(piped(Buffer.from('sps_x')), 'Seal: '), null);
});
