import type { Config } from './config.ts';
import type { Egress } from './egress/egress.ts';
import { createExchange } from './egress/exchange.ts';
import { SallyportError } from './errors.ts';
import type { Log } from './telemetry/log.ts';
import type { Tracer } from './telemetry/tracer.ts';

/**
 * The tracer to the operator's collector, or null where he named none: then nothing of OpenTelemetry's SDK is loaded.
 *
 * @throws {SallyportError} CONFIG_INVALID: its packages, which are optional, are not installed.
 */
export async function openTracer(
  config: Pick<Config, 'otlpEndpoint' | 'otelServiceName'>,
  deps: { readonly egress: Egress; readonly log: Log; readonly version: string },
): Promise<Tracer | null> {
  if (config.otlpEndpoint === null) return null;
  const { origin, pathname } = new URL(config.otlpEndpoint);
  const { createOtelTracer } = await load();
  // Ids and counts are no secrets, and collectors in a private network speak plain http.
  const exchange = createExchange(deps.egress, { allowsPlain: true });
  return createOtelTracer({
    serviceName: config.otelServiceName,
    version: deps.version,
    log: deps.log,
    async send(body) {
      const { status } = await exchange({
        origin,
        method: 'POST',
        path: `${pathname.replace(/\/$/, '')}/v1/traces`,
        headers: ['content-type', 'application/json'],
        body,
      });
      return status;
    },
  });
}

async function load() {
  try {
    return await import('./telemetry/otel-tracer.ts');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error;
    throw new SallyportError(
      'CONFIG_INVALID',
      'OTEL_EXPORTER_OTLP_ENDPOINT is set, but OpenTelemetry’s packages are not installed.',
      { fix: 'Install with npm ci, without --omit=optional; or take the setting away.', cause: error },
    );
  }
}
