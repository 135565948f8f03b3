import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync, chmodSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';

const checkout = fileURLToPath(new URL('../../', import.meta.url));

const patched = path.join('src', 'egress', 'call.ts');
const injected = 'return dispatchOptions(this.#request, hop, this.placeholder);';
const asString = `const { credential, origin } = this.#request;
    const options = dispatchOptions(this.#request, hop, null);
    if (credential === null) return options;
    const room = Buffer.from(new ArrayBuffer(credential.maxBytes));
    const used = credential.openInto(room, 0, { origin, header: credential.header });
    (options.headers as string[]).push(credential.header, \`\${credential.prefix}\${room.latin1Slice(0, used)}\`);
    room.fill(0);
    this.placeholder = null;
    return options;`;

/**
 * A copy of this program that differs in one place: the opened key goes out as everybody sends it, as a header's string. Even its
 * buffer is wiped, so that whatever is found comes of the string. There is no switch for this in the program itself.
 *
 * @returns the copy's root, for `installProduct`.
 */
export function stringHeaderTree(t: Pick<Test, 'teardown'>): string {
  const root = mkdtempSync(path.join(tmpdir(), 'sallyport-string-header-'));
  t.teardown(() => rmSync(root, { recursive: true, force: true }));
  chmodSync(root, 0o711);
  for (const name of ['bin', 'src', 'migrations', 'package.json'])
    cpSync(path.join(checkout, name), path.join(root, name), { recursive: true });
  symlinkSync(path.join(checkout, 'node_modules'), path.join(root, 'node_modules'));
  const file = path.join(root, patched);
  const source = readFileSync(file, 'utf8');
  if (source.split(injected).length !== 2)
    throw new Error(`${patched} no longer has the one line that this control changes: ${injected}`);
  writeFileSync(
    file,
    source.replace(injected, () => asString),
  );
  return root;
}
