import {
  type Context,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  type TextMapGetter,
  trace,
} from '@opentelemetry/api';
import { type ExportResult, ExportResultCode, W3CTraceContextPropagator } from '@opentelemetry/core';
import { JsonTraceSerializer } from '@opentelemetry/otlp-transformer';
import { resourceFromAttributes } from '@opentelemetry/resources';
import {
  AlwaysOnSampler,
  BatchSpanProcessor,
  ParentBasedSampler,
  type ReadableSpan,
  type SpanExporter,
  TracerProvider,
} from '@opentelemetry/sdk-trace';
import type { IncomingHttpHeaders } from 'node:http';
import type { Log } from './log.ts';
import {
  attemptAttributes,
  attemptEndAttributes,
  attemptName,
  callEndAttributes,
} from './span-attributes.ts';
import type { CallTrace, Tracer } from './tracer.ts';

export interface OtelTracerOptions {
  readonly serviceName: string;
  readonly version: string;
  /** Delivers one request of OTLP/HTTP with JSON; resolves with the collector's status. */
  readonly send: (body: Buffer) => Promise<number>;
  readonly log: Pick<Log, 'info' | 'warn'>;
}

/** For what still waits when the gateway stops: a collector that is away does not hold it up. */
const closeMs = 3000;

/**
 * OpenTelemetry's own SDK, with the gateway's way out in place of its exporter's. Bounds are the SDK's: 2048 spans wait at most, and what
 * comes beyond them is dropped. This module is loaded only where tracing is on.
 */
export function createOtelTracer({ serviceName, version, send, log }: OtelTracerOptions): Tracer {
  const provider = new TracerProvider({
    resource: resourceFromAttributes({ 'service.name': serviceName, 'service.version': version }),
    // What a client has decided for its trace holds for our part of it.
    sampler: new ParentBasedSampler({ root: new AlwaysOnSampler() }),
    spanProcessors: [new BatchSpanProcessor({ exporter: exporterTo(send, log) })],
  });
  const tracer = provider.getTracer('sallyport', version);
  const propagator = new W3CTraceContextPropagator();

  function startCall(callId: string, headers: IncomingHttpHeaders, startedAtMs: number): CallTrace {
    const parent = propagator.extract(ROOT_CONTEXT, headers, fromHeaders);
    const attributes = { 'sallyport.call.id': callId };
    const options = { kind: SpanKind.SERVER, startTime: startedAtMs, attributes };
    const call = tracer.startSpan('gateway call', options, parent);
    const inCall: Context = trace.setSpan(parent, call);
    let attempt: Span | null = null;
    return {
      attemptStarted(started) {
        attempt = tracer.startSpan(
          attemptName(started),
          { kind: SpanKind.CLIENT, startTime: started.startedAtMs, attributes: attemptAttributes(started) },
          inCall,
        );
        const flat: string[] = [];
        propagator.inject(trace.setSpan(inCall, attempt), flat, intoFlat);
        return flat;
      },
      attemptEnded(end) {
        attempt?.setAttributes(attemptEndAttributes(end));
        if (end.outcome !== 'ok') attempt?.setStatus({ code: SpanStatusCode.ERROR });
        attempt?.end(end.endedAtMs);
        attempt = null;
      },
      ended(end) {
        call.setAttributes(callEndAttributes(end));
        // A server's span is no error for what its client did wrong (semconv, "HTTP spans", Status).
        if (end.outcome !== 'ok' && (end.status === null || end.status >= 500))
          call.setStatus({ code: SpanStatusCode.ERROR });
        call.end(end.endedAtMs);
      },
    };
  }

  return Object.freeze<Tracer>({
    callStarted: startCall,
    async close() {
      const timeout = Promise.withResolvers<void>();
      const timer = setTimeout(timeout.resolve, closeMs);
      await Promise.race([provider.shutdown().catch(() => {}), timeout.promise]);
      clearTimeout(timer);
    },
  });
}

function exporterTo(send: OtelTracerOptions['send'], log: OtelTracerOptions['log']): SpanExporter {
  let isFailing = false;

  async function deliver(spans: readonly ReadableSpan[]): Promise<ExportResult> {
    try {
      const body = JsonTraceSerializer.serializeRequest([...spans]) ?? new Uint8Array();
      const status = await send(Buffer.from(body));
      if (status < 200 || status > 299) throw new Error(`The collector answered ${status}.`);
      if (isFailing) log.info('trace.export-works');
      isFailing = false;
      return { code: ExportResultCode.SUCCESS };
    } catch (error) {
      // Told once, until it works again: these spans are lost, and so are the next ones.
      if (!isFailing) log.warn('trace.export-failed', { error, count: spans.length });
      isFailing = true;
      return { code: ExportResultCode.FAILED, error: error as Error };
    }
  }

  return {
    export(spans, done) {
      void (async () => done(await deliver(spans)))();
    },
    forceFlush: () => Promise.resolve(),
    shutdown: () => Promise.resolve(),
  };
}

const fromHeaders: TextMapGetter<IncomingHttpHeaders> = {
  get: (headers, name) => headers[name],
  keys: (headers) => Object.keys(headers),
};

const intoFlat = {
  set(flat: string[], name: string, value: string): void {
    flat.push(name, value);
  },
};
