import { readFileSync } from 'node:fs';
import { type IncomingMessage, request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { Config } from '../config.ts';
import { SallyportError } from '../errors.ts';
import type { Command } from './command.ts';
import { exits } from './failure.ts';
import { readAll } from './transport.ts';

type Listener = Pick<Config, 'host' | 'port' | 'tlsCertFile'>;

/** Below the 5 s that docker/Dockerfile gives the command, with the start of a process in them. */
const timeoutMs = 3000;

/**
 * What `/readyz` of the gateway with this configuration says, on the port that its clients use. Over TLS whoever answers has to prove the
 * certificate of TLS_CERT_FILE; its names are not compared, because they are those of the way from outside.
 *
 * @throws {SallyportError} GATEWAY_UNREACHABLE, CONFIG_INVALID (PORT=0)
 */
export async function askReadiness(config: Listener): Promise<{ isReady: boolean; status: string }> {
  const { port, tlsCertFile } = config;
  const host = reachable(config.host);
  if (port === 0) {
    throw new SallyportError('CONFIG_INVALID', 'With PORT=0 nobody knows which port to ask.', {
      fix: 'Set PORT to the port that the gateway listens on.',
    });
  }
  const place = {
    host,
    port,
    path: '/readyz',
    agent: false,
    signal: AbortSignal.timeout(timeoutMs),
  } as const;
  const answered = Promise.withResolvers<IncomingMessage>();
  try {
    const outgoing =
      tlsCertFile === null
        ? httpRequest(place)
        : httpsRequest({
            ...place,
            ca: readFileSync(tlsCertFile),
            allowPartialTrustChain: true,
            checkServerIdentity: () => undefined,
          });
    outgoing.once('response', answered.resolve).once('error', answered.reject).end();
    const response = await answered.promise;
    const { status } = JSON.parse((await readAll(response)).toString('utf8')) as { status?: unknown };
    const isReady = response.statusCode === 200;
    return { isReady, status: typeof status === 'string' ? status : isReady ? 'ready' : 'not_ready' };
  } catch (cause) {
    const { code, name } = cause as NodeJS.ErrnoException;
    throw new SallyportError(
      'GATEWAY_UNREACHABLE',
      `Nothing that is well answers at ${host}:${port}: ${code ?? name}.`,
      {
        fix: 'Look at the log of the gateway; bin/sallyport doctor says what is wrong with the installation.',
        cause,
      },
    );
  }
}

/** "Every address of this machine" is none that one could connect to. */
function reachable(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1';
  return host === '::' ? '::1' : host;
}

export const healthcheckCommand: Command = {
  words: 'healthcheck',
  isLocal: true,
  doc: 'Ask the gateway of this configuration whether it serves; for containers.',
  options: {},
  async run(context) {
    const { isReady, status } = await askReadiness(context.config());
    context.print({ status }, `${status}\n`);
    return isReady ? exits.ok : exits.refused;
  },
};
