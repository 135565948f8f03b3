import { BlockList, isIP } from 'node:net';
import { resolve } from 'node:path';
import { parseSealSecret } from './seal-text.ts';
import { wipe } from './secret.ts';

/**
 * How a setting's text is read. `type` is for the reader of docs/configuration.md; `parse` throws an Error whose message
 * continues "NAME …" and never repeats the value, which may be a secret in the wrong place.
 */
export interface Kind<T> {
  readonly type: string;
  readonly parse: (text: string) => T;
}

export const KiB = 1024;
export const MiB = 1024 * KiB;
export const GiB = 1024 * MiB;

export function text(): Kind<string> {
  return { type: 'text', parse: (value) => value };
}

export function path(): Kind<string> {
  return {
    type: 'path',
    parse: (value) => (value.includes('\0') ? fail('must be a path') : resolve(value)),
  };
}

export function flag(): Kind<boolean> {
  return {
    type: '`true` or `false`',
    parse: (value) => (value === 'true' ? true : value === 'false' ? false : fail('must be true or false')),
  };
}

export function oneOf<const T extends string>(...choices: readonly T[]): Kind<T> {
  return {
    type: choices.map((choice) => `\`${choice}\``).join(', '),
    parse: (value) =>
      choices.find((choice) => choice === value) ?? fail(`must be one of ${choices.join(', ')}`),
  };
}

export function whole(min: number, max: number): Kind<number> {
  return {
    type: `whole number, ${min} to ${max}`,
    parse(value) {
      const number = /^\d{1,15}$/.test(value) ? Number(value) : Number.NaN;
      return number >= min && number <= max ? number : fail(`must be a whole number from ${min} to ${max}`);
    },
  };
}

export function size(min: number, max: number): Kind<number> {
  const units: Record<string, number> = { '': 1, KiB, MiB, GiB };
  return {
    type: 'bytes, or a number with `KiB`, `MiB`, `GiB`',
    parse(value) {
      const [, digits = '', unit = ''] = /^(\d{1,15}) ?(KiB|MiB|GiB|)$/.exec(value) ?? [];
      const bytes = digits === '' ? Number.NaN : Number(digits) * (units[unit] ?? Number.NaN);
      return bytes >= min && bytes <= max
        ? bytes
        : fail(`must be a size from ${min} to ${max} bytes, like 64MiB`);
    },
  };
}

export function list<T>(kind: Kind<T>): Kind<readonly T[]> {
  return {
    type: `${kind.type}, several separated by commas`,
    parse(value) {
      const entries = value.split(',').map((entry) => entry.trim());
      return Object.freeze(entries.filter((entry) => entry !== '').map((entry) => kind.parse(entry)));
    },
  };
}

export function address(): Kind<string> {
  return {
    type: 'address or host name',
    parse: (value) =>
      isIP(value) !== 0 || /^[A-Za-z0-9]([A-Za-z0-9.-]{0,252})$/.test(value)
        ? value
        : fail('must be an address or a host name'),
  };
}

export function network(): Kind<string> {
  return {
    type: 'address or CIDR',
    parse(value) {
      const [host = '', bits, ...rest] = value.split('/');
      const family = isIP(host);
      const width = family === 6 ? 128 : 32;
      if (family === 0 || rest.length > 0 || (bits !== undefined && !/^\d{1,3}$/.test(bits))) {
        fail('must list addresses or CIDRs like 10.0.0.0/8');
      }
      const prefix = bits === undefined ? width : Number(bits);
      if (prefix > width) fail('must list addresses or CIDRs like 10.0.0.0/8');
      // A /0 would believe anyone's claim that his connection is https.
      if (prefix === 0) fail('must not trust every address; name the proxy');
      new BlockList().addSubnet(host, prefix, family === 6 ? 'ipv6' : 'ipv4');
      return value;
    },
  };
}

export function origin(): Kind<string> {
  return {
    type: 'origin',
    parse(value) {
      const url = URL.canParse(value) ? new URL(value) : fail('must be an origin like https://host:8443');
      if (url.protocol !== 'https:' && url.protocol !== 'http:') fail('must start with https:// or http://');
      if (url.username !== '' || url.password !== '') fail('must not carry a user name or password');
      if (url.pathname !== '/' || /[?#]/.test(value)) fail('must be an origin alone, without a path');
      return url.origin;
    },
  };
}

/** A proxy that serves CONNECT. */
export function proxyUrl(): Kind<string> {
  return {
    type: 'URL of a proxy',
    parse(value) {
      const url = URL.canParse(value) ? new URL(value) : fail('must be a URL like http://proxy.example:3128');
      if (url.protocol !== 'https:' && url.protocol !== 'http:') fail('must start with http:// or https://');
      if (!/^\/?$/.test(url.pathname) || /[?#]/.test(value)) fail('must be a proxy alone, without a path');
      if (!isBasic(url)) fail('must have user and password in percent-encoding, the user without a colon');
      return url.href;
    },
  };
}

/** RFC 7617: no control characters, and the first colon ends the user's name. */
function isBasic({ username, password }: URL): boolean {
  try {
    const [user, secret] = [decodeURIComponent(username), decodeURIComponent(password)];
    // eslint-disable-next-line no-control-regex
    return !user.includes(':') && !/[\0-\x1f\x7f]/.test(user + secret);
  } catch {
    return false;
  }
}

export function gatewayUrl(): Kind<string> {
  return {
    type: 'URL',
    parse(value) {
      const url = URL.canParse(value) ? new URL(value) : fail('must be a URL like https://gateway.example');
      if (url.protocol !== 'https:' && url.protocol !== 'http:') fail('must start with https:// or http://');
      if (url.username !== '' || url.password !== '' || /[?#]/.test(value)) fail('must be a base URL alone');
      return url.href.replace(/\/+$/, '');
    },
  };
}

/** A mail server. Without TLS on loopback alone. */
export function smtpUrl(): Kind<string> {
  return {
    type: 'URL of a mail server',
    parse(value) {
      const url = URL.canParse(value) ? new URL(value) : fail('must be a URL like smtps://mail.example:465');
      if (!/^smtps?:$/.test(url.protocol)) fail('must start with smtps:// or smtp://');
      if (url.hostname === '' || !/^\/?$/.test(url.pathname) || /[?#]/.test(value))
        fail('must be a server alone');
      if (!isDecodable(url.username + url.password)) fail('must have user and password in percent-encoding');
      return value;
    },
  };
}

/** A mailbox alone: no name before it. */
export function mailAddress(): Kind<string> {
  return {
    type: 'mail address',
    parse: (value) =>
      /^[A-Za-z0-9.!#$%&*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,189}$/.test(value)
        ? value
        : fail('must be a mail address like security@example.com'),
  };
}

function isDecodable(text: string): boolean {
  try {
    // eslint-disable-next-line no-control-regex
    return !/[\0-\x1f\x7f]/.test(decodeURIComponent(text));
  } catch {
    return false;
  }
}

/** Where checkpoints go: `file`, `stdout`, or a URL as it is written. */
export function outlet(): Kind<string> {
  return {
    type: '`file`, `stdout` or URL',
    parse(value) {
      if (value === 'file' || value === 'stdout') return value;
      const url = URL.canParse(value) ? new URL(value) : fail('must list file, stdout or URLs');
      if (url.protocol !== 'https:' && url.protocol !== 'http:') fail('must list file, stdout or https URLs');
      if (url.username !== '' || url.password !== '' || url.hash !== '')
        fail('must list URLs without a user name, a password or a fragment');
      return url.href;
    },
  };
}

export function databaseUrl(): Kind<string> {
  return {
    type: 'PostgreSQL URL',
    parse: (value) =>
      URL.canParse(value) && /^postgres(ql)?:$/.test(new URL(value).protocol)
        ? value
        : fail('must be a URL like postgres://user:password@host:5432/database'),
  };
}

/** What goes into a header as it is. */
export function token(): Kind<string> {
  return {
    type: 'text',
    parse: (value) =>
      /^[\x21-\x7e]{1,4096}$/.test(value)
        ? value
        : fail('must be 1 to 4096 printable characters without spaces'),
  };
}

export function adminToken(): Kind<string> {
  return {
    type: 'admin token',
    parse: (value) => (/^spa_[0-9A-Za-z]+$/.test(value) ? value : fail('must be an admin token (spa_…)')),
  };
}

/** What `seals create` printed. */
export function sealSecret(): Kind<string> {
  return {
    type: 'secret of a seal',
    parse: (value) => {
      const ikm = parseSealSecret(value);
      wipe(ikm);
      return ikm === null ? fail('must be the secret of a seal (sps_…), whole') : value;
    },
  };
}

const limitNames = ['connect', 'firstByte', 'betweenBytes', 'total', 'writeIdle'] as const;
type SetLimits = Partial<Record<`${(typeof limitNames)[number]}Ms`, number>>;

/** By provider and limit, in ms: `openai.firstByte=900s,custom.total=10m`. @param providers whose limits may be set */
export function timeLimits(providers: readonly string[]): Kind<ReadonlyMap<string, SetLimits>> {
  const units: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
  return {
    type: '`provider.limit=time`, several separated by commas',
    parse(value) {
      const found = new Map<string, SetLimits>();
      for (const entry of value.split(',').map((part) => part.trim())) {
        if (entry === '') continue;
        const [, provider = '', limit = '', digits = '', unit = ''] =
          /^(\w+)\.(\w+)=(\d{1,8})(ms|s|m|h)$/.exec(entry) ?? fail('must be like openai.firstByte=900s');
        const name = limitNames.find((each) => each === limit);
        const ms = Number(digits) * (units[unit] ?? Number.NaN);
        if (!providers.includes(provider)) fail(`must begin each limit with one of ${providers.join(', ')}`);
        if (name === undefined) fail(`must name limits of ${limitNames.join(', ')}`);
        if (!(ms <= 24 * 3_600_000)) fail('must give times up to 24h; 0s is no limit');
        const known = found.get(provider) ?? {};
        if (known[`${name}Ms`] !== undefined) fail('must give each limit once');
        found.set(provider, { ...known, [`${name}Ms`]: ms });
      }
      return found;
    },
  };
}

function fail(reason: string): never {
  throw new Error(reason);
}
