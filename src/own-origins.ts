import type { Config } from './config.ts';

/** @param port the one in use, which is not the setting's where that is 0 */
export function urlOf({ host, tlsCertFile }: Pick<Config, 'host' | 'tlsCertFile'>, port: number): string {
  return `${tlsCertFile === null ? 'http' : 'https'}://${bracketed(host)}:${port}`;
}

/** Where this gateway is reached, as far as its settings tell. What leads back to it by another name, the hop header tells. */
export function ownOrigins({
  host,
  port,
  adminPort,
  metricsPort,
}: Pick<Config, 'host' | 'port' | 'adminPort' | 'metricsPort'>): string[] {
  const hosts = new Set([host, 'localhost', '127.0.0.1', '::1'].map(bracketed));
  const ports = [port, adminPort, metricsPort].filter((each) => each !== null && each > 0);
  return ports.flatMap((each) =>
    [...hosts].flatMap((name) =>
      ['http', 'https'].map((scheme) => new URL(`${scheme}://${name}:${each}`).origin),
    ),
  );
}

function bracketed(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}
