import { randomBytes } from 'node:crypto';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Command } from '../command.ts';
import { exits } from '../failure.ts';
import { createAsker } from './ask.ts';
import { judgeCredentials, judgeMetrics, judgeSpread, judgeUsage } from './evidence.ts';
import {
  type GatewayProcess,
  bareEnvironment,
  freePort,
  runSallyport,
  startGateway,
} from './gateway-process.ts';
import { changeOneByte, copyJournal } from './journal-copy.ts';
import { StepFailed, type Story, createStory } from './story.ts';
import { type StandIn, startStandIn } from './stand-in.ts';

/** Rows are visible 2 s after an answer's last byte (JOURNAL.md); a busy machine gets more. */
const usageMs = 10_000;

export const demoCommand: Command = {
  words: 'demo',
  isLocal: true,
  doc: 'Show a key’s way, offline and without a real key, and check each promise.',
  options: {
    keep: {
      value: null,
      doc: 'leave gateway and stand-in running until Ctrl-C, and print base URL and token',
    },
  },
  async run(context) {
    const interrupt = new AbortController();
    const onSignal = () => interrupt.abort();
    process.once('SIGINT', onSignal).once('SIGTERM', onSignal);
    const folder = await mkdtemp(join(tmpdir(), 'sallyport-demo-'));
    // Run by root, the embedded database is another user, who has to get through here; what is inside stays closed.
    await chmod(folder, 0o711);
    const story = createStory(context.terminal.output, context.isJson, interrupt.signal);
    const stage: Stage = { folder, signal: interrupt.signal, standIn: null, gateway: null, token: null };
    try {
      const ok = await perform(story, stage);
      const kept =
        ok && context.has('keep') ? { baseUrl: `${stage.gateway?.baseUrl}/v1`, token: stage.token } : {};
      context.print(
        { ok, steps: story.steps, ...kept },
        interrupt.signal.aborted
          ? '\n  Interrupted; everything is taken away again.\n\n'
          : closing(story, ok, kept),
      );
      if (ok && context.has('keep') && !interrupt.signal.aborted) await untilAborted(interrupt.signal);
      return ok ? exits.ok : exits.refused;
    } finally {
      await stage.gateway?.stop();
      await stage.standIn?.close();
      await rm(folder, { recursive: true, force: true });
      process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
    }
  },
};

interface Stage {
  readonly folder: string;
  readonly signal: AbortSignal;
  standIn: StandIn | null;
  gateway: GatewayProcess | null;
  token: string | null;
}

/** @returns whether every step was true */
async function perform(story: Story, stage: Stage): Promise<boolean> {
  try {
    await act(story, stage);
    return story.steps.every(({ ok }) => ok);
  } catch (error) {
    if (error instanceof StepFailed || stage.signal.aborted) return false;
    throw error;
  }
}

async function act(story: Story, stage: Stage): Promise<void> {
  const { folder, signal } = stage;
  const key = `sk-demo-${randomBytes(24).toString('hex')}`;
  const dataDir = join(folder, 'data');
  story.title(
    'A provider key at work that no app ever sees',
    'offline, no real key, a temporary folder; about ten seconds',
  );

  story.chapter('Two doors');
  const standIn = await startStandIn(key);
  stage.standIn = standIn;
  const env = bareEnvironment({
    DATA_DIR: dataDir,
    HOST: '127.0.0.1',
    LOG_LEVEL: 'warn',
    IMPORT_ENV_KEYS: 'off',
    SALLYPORT_OPENAI_ORIGIN: standIn.origin,
  });
  const sallyport = (args: readonly string[], input?: string) =>
    runSallyport(args, env, input === undefined ? { signal } : { signal, input });

  await story.step('a gateway starts on an empty folder', async () => {
    const startedAt = performance.now();
    stage.gateway = await startGateway(env, await freePort(), signal);
    return {
      ok: true,
      detail: `${stage.gateway.baseUrl}, ${((performance.now() - startedAt) / 1000).toFixed(1)} s`,
    };
  });
  const { baseUrl } = stage.gateway as unknown as GatewayProcess;
  await story.step('a provider key goes in, by standard input', async () => {
    const { document } = await sallyport(
      ['keys', 'add', '--provider', 'openai', '--name', 'demo'],
      `${key}\n`,
    );
    return {
      ok: typeof document['id'] === 'string',
      detail: `${key.slice(0, 11)}…  →  ${String(document['id'])}`,
    };
  });
  await story.step('an app gets a token instead', async () => {
    const { document } = await sallyport(['tokens', 'create', '--name', 'app']);
    stage.token = String(document['token']);
    return { ok: stage.token.startsWith('spt_'), detail: `${stage.token.slice(0, 16)}…` };
  });
  const token = stage.token as unknown as string;

  story.chapter('A call, with the official openai package');
  let arrivals: number[] = [];
  await story.step('the answer streams through', async () => {
    const asker = await createAsker(baseUrl, token);
    story.say('\n    ');
    const answer = await asker.stream((text) => story.say(story.style('yellow', text)), signal);
    story.say('\n\n');
    arrivals = answer.arrivals;
    const others = await Promise.all([1, 2, 3].map(() => asker.whole(signal)));
    const isSame = others.every((text) => text === answer.text);
    return {
      ok: isSame && answer.text !== '',
      detail: 'and three calls at once, unstreamed, got the same text',
    };
  });
  await story.step('the provider got the stored key, and never the token', () =>
    Promise.resolve(judgeCredentials(standIn.credentials, key, standIn.hasSeen(token))),
  );
  await story.step('the chunks arrived as they were sent', () =>
    Promise.resolve(judgeSpread(arrivals, standIn.stream)),
  );

  story.chapter('The books');
  await story.step('usage equals the provider’s bill', async () => {
    const until = Date.now() + usageMs;
    for (;;) {
      const { document } = await sallyport(['usage']);
      const found = judgeUsage(document['totals'] as Record<string, unknown>, standIn.bill);
      if (found.ok || Date.now() > until) return found;
      await pause(200, null, { signal });
    }
  });
  await story.step('the metrics agree', async () => {
    const response = await fetch(`${baseUrl}/metrics`, { signal });
    return judgeMetrics(await response.text(), standIn.bill);
  });
  await story.step('the journal verifies', async () => {
    const { document } = await sallyport(['journal', 'verify']);
    const detail = `${String(document['records'])} records, each chained to the one before by its hash`;
    return {
      ok: document['ok'] === true,
      detail: document['ok'] === true ? detail : JSON.stringify(document['problems']),
    };
  });
  await story.step('one byte changed in a copy of it is found', async () => {
    const copy = join(folder, 'copy');
    await copyJournal(dataDir, copy);
    const before = await sallyport(['journal', 'verify', '--dir', copy]);
    if (before.document['ok'] !== true)
      return { ok: false, detail: 'the copy did not verify before it was changed' };
    const changed = await changeOneByte(copy);
    const { exit, document } = await sallyport(['journal', 'verify', '--dir', copy]);
    const [problem] = document['problems'] as { kind: string; stream: string; seq: number }[];
    const detail = `${changed}\n→  ${problem?.kind ?? 'nothing'} in record ${problem?.seq ?? '?'}`;
    return { ok: exit === exits.refused && document['ok'] === false && problem !== undefined, detail };
  });
}

function closing(
  story: Story,
  ok: boolean,
  kept: { readonly baseUrl?: string; readonly token?: string | null },
): string {
  const count = story.steps.length;
  if (!ok) return `\n  ${story.style('red', 'Not all of it is true.')} What failed is marked above.\n\n`;
  if (kept.baseUrl === undefined) {
    return `\n  ${story.style('green', `All ${count} are true.`)} Everything is gone again.\n  Next: npm start. To play with this one: npm run demo -- --keep\n\n`;
  }
  return `\n  ${story.style('green', `All ${count} are true.`)} Both are still running; Ctrl-C ends them and takes everything away.

  export OPENAI_BASE_URL=${kept.baseUrl}
  export OPENAI_API_KEY=${kept.token ?? ''}

  curl -N $OPENAI_BASE_URL/chat/completions -H "authorization: Bearer $OPENAI_API_KEY" -H 'content-type: application/json' \\
    -d '{"model":"gpt-4o-mini","stream":true,"messages":[{"role":"user","content":"Hello"}]}'

`;
}

/** Waits for the signal; the stand-in's listening socket keeps the process alive meanwhile. */
function untilAborted(signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  signal.addEventListener('abort', () => resolve(), { once: true });
  return promise;
}
