import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { createSecureContext, TLSSocket } from 'node:tls';
import type { Test } from 'tap';

/** One message that was taken. */
export interface SeenMail {
  readonly isTls: boolean;
  /** `user\0password`, or null. */
  readonly login: string | null;
  readonly from: string;
  readonly to: readonly string[];
  /** Head and body as they came, without the dots of SMTP. */
  readonly content: string;
}

export interface SmtpServer {
  readonly port: number;
  readonly mails: readonly SeenMail[];
  /** Commands in the order in which they came. */
  readonly commands: readonly string[];
  /** Recipients that are refused with 550. */
  readonly refused: Set<string>;
}

const folder = new URL('tls/', import.meta.url);

/** A mail server on a real socket (RFC 5321, 3207, 4954), closed when the test ends. */
export async function smtpServer(
  t: Pick<Test, 'teardown'>,
  { hasStartTls = true }: { readonly hasStartTls?: boolean } = {},
): Promise<SmtpServer> {
  const mails: SeenMail[] = [];
  const commands: string[] = [];
  const refused = new Set<string>();
  const sockets = new Set<Socket>();
  const secureContext = createSecureContext({
    cert: readFileSync(new URL('leaf.pem', folder)),
    key: readFileSync(new URL('leaf.key', folder)),
  });

  function converse(socket: Socket, isTls: boolean): void {
    let [waiting, from] = ['', ''];
    let login: string | null = null;
    let to: string[] = [];
    let isData = false;
    const say = (line: string): unknown => socket.write(`${line}\r\n`);
    const listen = (chunk: Buffer): void => {
      waiting += chunk.toString('utf8');
      for (let end = ends(); end >= 0; end = ends()) {
        const part = waiting.slice(0, end);
        waiting = waiting.slice(end + (isData ? 5 : 2));
        if (isData) {
          mails.push({ isTls, login, from, to, content: `${part}\r\n`.replaceAll('\r\n..', '\r\n.') });
          isData = false;
          say('250 taken');
        } else if (take(part)) return;
      }
    };
    const ends = (): number => waiting.indexOf(isData ? '\r\n.\r\n' : '\r\n');

    /** @returns the connection is another one now. */
    function take(line: string): boolean {
      const [verb = ''] = line.toUpperCase().split(/[ :]/);
      commands.push(verb);
      if (verb === 'EHLO') {
        const more = [...(hasStartTls && !isTls ? ['STARTTLS'] : []), 'AUTH PLAIN', '8BITMIME'];
        more.forEach((one) => say(`250-${one}`));
        say('250 SMTPUTF8');
      } else if (verb === 'STARTTLS' && hasStartTls) {
        say('220 go on');
        socket.off('data', listen);
        converse(new TLSSocket(socket, { isServer: true, secureContext }), true);
        return true;
      } else if (verb === 'AUTH') {
        login = Buffer.from(line.split(' ')[2] ?? '', 'base64')
          .toString('utf8')
          .slice(1);
        say('235 you are');
      } else if (verb === 'MAIL') {
        from = /<(.*?)>/.exec(line)?.[1] ?? '';
        to = [];
        say('250 ok');
      } else if (verb === 'RCPT') {
        const one = /<(.*?)>/.exec(line)?.[1] ?? '';
        if (!refused.has(one)) to.push(one);
        say(refused.has(one) ? `550 nobody called <${one}> is here` : '250 ok');
      } else if (verb === 'DATA') {
        isData = true;
        say('354 go on');
      } else if (verb === 'QUIT') {
        say('221 bye');
        socket.end();
      } else say(verb === 'RSET' ? '250 ok' : '502 not here');
      return false;
    }

    socket.on('error', () => {}).on('data', listen);
  }

  const server = createServer((socket) => {
    sockets.add(socket);
    socket.write('220 test\r\n');
    converse(socket, false);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    sockets.forEach((socket) => socket.destroy());
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, mails, commands, refused };
}
