import { SallyportError } from '../errors.ts';
import type { Command } from './command.ts';
import type { Initialised } from './deps.ts';
import { keysFd } from './environment-keys.ts';
import { exits } from './failure.ts';
import { printable } from './text-table.ts';

const serve: Command = {
  words: 'serve',
  isLocal: true,
  doc: 'Run the gateway; on an empty data directory, set everything up first.',
  options: {
    'keys-fd': { value: 'N', doc: 'where provider keys of the environment come in', isHidden: true },
  },
  async run(context) {
    const fd = keysFd(context.text('keys-fd'));
    const deps = await context.deps();
    return deps.serve({ keysFd: fd });
  },
};

const init: Command = {
  words: 'init',
  isLocal: true,
  doc: 'Set up the data directory: keyring, workspace, admin token, gateway token.',
  options: {},
  async run(context) {
    const deps = await context.deps();
    const made = await deps.init();
    const { workspaceId, adminToken, token } = made;
    context.print({ workspaceId, adminToken, token }, credentialsText(made));
    return exits.ok;
  },
};

const migrate: Command = {
  words: 'migrate',
  isLocal: true,
  doc: 'Bring the database’s schema up to date.',
  options: {},
  async run(context) {
    const deps = await context.deps();
    const { applied, version } = await deps.migrate();
    const text = applied.length === 0 ? 'Up to date' : `Applied ${applied.join(', ')}`;
    context.print({ applied, version }, `${text}; the schema is at ${version}.\n`);
    return exits.ok;
  },
};

const doctor: Command = {
  words: 'doctor',
  isLocal: true,
  doc: 'Say what is wrong with this installation, and how to mend it.',
  options: {},
  async run(context) {
    const { ok, checks } = await diagnose(context);
    const lines = checks.map(({ name, ok, detail, fix }) => {
      const mend = fix === null ? '' : `\n    → ${printable(fix)}`;
      return `${ok ? '✓' : '✗'} ${name}: ${printable(detail)}${mend}\n`;
    });
    context.print({ ok, checks }, `${lines.join('')}${ok ? '\nAll well.\n' : ''}`);
    return ok ? exits.ok : exits.refused;
  },
};

/** A configuration that cannot be read is what the doctor is asked about, and no reason to fail without an answer. */
async function diagnose(context: Parameters<Command['run']>[0]) {
  try {
    context.config();
  } catch (error) {
    if (!(error instanceof SallyportError)) throw error;
    return {
      ok: false,
      checks: [{ name: 'configuration', ok: false, detail: error.message, fix: error.fix }],
    };
  }
  const deps = await context.deps();
  return deps.doctor();
}

export const installationCommands: readonly Command[] = [serve, init, migrate, doctor];

export function credentialsText({ workspaceId, adminToken, token }: Initialised): string {
  return `Shown this once; keep them where you keep passwords.

  workspace      ${workspaceId}
  admin token    ${adminToken}
  gateway token  ${token}
`;
}
