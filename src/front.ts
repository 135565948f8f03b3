import { createServer } from 'node:net';
import type { App } from './app.ts';
import type { Config } from './config.ts';
import { SallyportError } from './errors.ts';
import type { Installation } from './installation.ts';
import type { Log } from './telemetry/log.ts';
import type { Metrics } from './telemetry/metrics.ts';

/** Where clients come in: the listeners of this process, or the workers. `app` answers for what happens in this process. */
export interface Front {
  /** Takes calls from now on. @returns the main port. @throws {SallyportError} CONFIG_INVALID */
  open(): Promise<number>;
  /** As the app's (app.ts), for the workers. */
  retire(): void;
  cut(): void;
  /** Resolves when no call is under way in another process: those that last longer than `graceMs` are cut. */
  close(graceMs: number): Promise<void>;
}

export interface FrontDeps {
  readonly app: App;
  readonly installation: Installation;
  readonly log: Log;
  readonly metrics: Metrics;
}

type PortName = 'PORT' | 'ADMIN_PORT' | 'METRICS_PORT';

/** The listeners of this process; `app.close` closes them. */
export function createOwnFront({ host, workers, ...ports }: OwnFrontConfig, app: App): Front {
  // The kernel spreads connections over workers that listen each for itself. Were they handed on by the primary, as node:cluster does it,
  // those that a dying worker was being handed would hang.
  const reusePort = workers > 1 && process.platform === 'linux';
  return Object.freeze<Front>({
    async open() {
      const edges = { PORT: app.main, ADMIN_PORT: app.admin, METRICS_PORT: app.metrics };
      // A start that took a while has an old epoch, with which tokens cannot be looked up: the first calls would be refused.
      await app.dataPlane.epoch.refresh();
      let main = 0;
      // The main one last: whoever reaches it finds the others there.
      for (const [name, port] of portsOf(ports).toReversed()) {
        try {
          main = (await edges[name]?.listen({ host, port, reusePort })) ?? main;
        } catch (error) {
          throw portTaken(error, name) ?? error;
        }
      }
      return main;
    },
    retire() {},
    cut() {},
    close: async () => {},
  });
}

type FrontConfig = Pick<Config, 'host' | 'port' | 'adminPort' | 'metricsPort'>;
type OwnFrontConfig = FrontConfig & Pick<Config, 'workers'>;

/** Before anything is made: could the listeners be opened? @throws {SallyportError} CONFIG_INVALID */
export async function checkPorts({ host, ...ports }: FrontConfig): Promise<void> {
  for (const [name, port] of portsOf(ports)) await checkPort(host, port, name);
}

function portsOf({ port, adminPort, metricsPort }: Omit<FrontConfig, 'host'>): [PortName, number][] {
  const ports: [PortName, number][] = [['PORT', port]];
  if (adminPort !== null) ports.push(['ADMIN_PORT', adminPort]);
  if (metricsPort !== null) ports.push(['METRICS_PORT', metricsPort]);
  return ports;
}

function checkPort(host: string, port: number, name: PortName): Promise<void> {
  return new Promise((resolve, reject) => {
    const probe = createServer()
      .once('error', (error) => reject(portTaken(error, name) ?? error))
      .listen({ host, port, exclusive: true }, () => probe.close(() => resolve()));
  });
}

function portTaken(error: unknown, name: PortName): SallyportError | null {
  const { code, port, address } = error as NodeJS.ErrnoException & { port?: number; address?: string };
  if (code === 'EADDRINUSE') {
    return new SallyportError('CONFIG_INVALID', `Port ${port} is taken.`, {
      fix: `Choose another one: ${name}=${(port ?? 8080) + 1} npm start`,
    });
  }
  if (code === 'EACCES' || code === 'EADDRNOTAVAIL') {
    return new SallyportError('CONFIG_INVALID', `${address}:${port} cannot be listened on (${code}).`, {
      fix: `Set HOST to an address of this machine and ${name} to one above 1023.`,
    });
  }
  return null;
}
