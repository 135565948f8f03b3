import { isIP, type LookupFunction } from 'node:net';
import type { Transporter } from 'nodemailer';
import { isLoopbackName } from './exchange.ts';
import { guardedConnector } from './guard.ts';

/** One message of plain text to one person. */
export interface Mail {
  /** An address as `isMailAddress` takes it. */
  readonly to: string;
  /** One line. */
  readonly subject: string;
  readonly text: string;
  /** The part of the message id before the `@`: the same for a repetition. */
  readonly id: string;
}

/** Says nothing of the person: what a mail server answers holds his address. */
export interface MailResult {
  readonly ok: boolean;
  /** Of nodemailer, such as EAUTH or ECONNECTION; null where it went. */
  readonly code: string | null;
}

export type SendMail = (mail: Mail) => Promise<MailResult>;

export interface MailerOptions {
  /** `smtps://` or `smtp://`, with host, perhaps port, user and password. */
  readonly url: string;
  /** The sender's address. */
  readonly from: string;
  /** Trusted instead of the built-in roots (tests). */
  readonly ca?: string | undefined;
  readonly lookup?: LookupFunction | undefined;
}

const withinMs = 30_000;

/**
 * The operator's mail server, by the dialer that everything else takes. TLS from the start (`smtps`) or by STARTTLS (`smtp`), verified, or
 * nothing is sent; only on loopback in clear.
 */
export function createMailer({ url, from, ca, lookup }: MailerOptions): SendMail {
  const { protocol, hostname, port, username, password } = new URL(url);
  const isSecure = protocol === 'smtps:';
  const host = hostname.replace(/^\[|\]$/g, '');
  const isPlain = !isSecure && isLoopbackName(host.includes(':') ? `[${host}]` : host);
  // He named the server himself: it may be private.
  const dial = guardedConnector({ reach: 'operator', ca: undefined, lookup, tunnel: null });
  let transport: Promise<Transporter> | null = null;

  async function open(): Promise<Transporter> {
    // Loaded where it is needed: nearly no gateway ever sends a mail.
    const { createTransport } = await import('nodemailer');
    return createTransport(
      {
        host,
        port: port === '' ? (isSecure ? 465 : 587) : Number(port),
        secure: isSecure,
        requireTLS: !isSecure && !isPlain,
        ignoreTLS: isPlain,
        tls: {
          rejectUnauthorized: true,
          minVersion: 'TLSv1.2',
          ...(isIP(host) === 0 ? { servername: host } : {}),
          ...(ca === undefined ? {} : { ca }),
        },
        ...(username === ''
          ? {}
          : { auth: { user: decodeURIComponent(username), pass: decodeURIComponent(password) } }),
        connectionTimeout: 10_000,
        greetingTimeout: 10_000,
        socketTimeout: 15_000,
        getSocket(options, done) {
          // Plain TCP: TLS is nodemailer's part, with the settings above.
          dial({ hostname: host, protocol: 'http:', port: String(options.port) }, (error, socket) => {
            if (error === null) done(null, { connection: socket });
            else done(error, false);
          });
        },
        // Contents are ours alone; nothing is read from files or addresses that a text names.
        disableFileAccess: true,
        disableUrlAccess: true,
      },
      { from },
    );
  }

  return async function send({ to, subject, text, id }) {
    if (!isMailAddress(to)) return { ok: false, code: 'EENVELOPE' };
    try {
      await (
        await (transport ??= open())
      ).sendMail({
        // As an object it is one address, whatever stands in it.
        to: { name: '', address: to },
        subject: oneLine(subject),
        text,
        messageId: `<${id}@${from.slice(from.lastIndexOf('@') + 1)}>`,
        headers: { 'auto-submitted': 'auto-generated' },
        signal: AbortSignal.timeout(withinMs),
      });
      return { ok: true, code: null };
    } catch (error) {
      const { code } = error as { code?: unknown };
      return { ok: false, code: typeof code === 'string' && /^[A-Z_]{2,40}$/.test(code) ? code : 'EUNKNOWN' };
    }
  };
}

/** A mailbox that goes into a header and an envelope as it is: no quoted names, no lists, no control characters. */
export function isMailAddress(text: string): boolean {
  return (
    text.length <= 254 &&
    /^[^\s@"'<>()[\]\\,;:\p{C}]{1,64}@(?:[\p{L}\p{N}](?:[\p{L}\p{N}-]{0,61}[\p{L}\p{N}])?\.)*[\p{L}\p{N}-]{1,63}$/u.test(
      text,
    )
  );
}

function oneLine(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, ' ').slice(0, 200);
}
