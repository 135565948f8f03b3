import type { PermitAnswer, PermitAsk, PermitReport } from '../limits/permits.ts';
import type { MetricsSnapshot } from '../telemetry/merged-metrics.ts';

/** What a worker may ask of its primary. */
export type OfPrimary = {
  /** First of all: how it is to set itself up. */
  welcome(body: null): { readonly maxConnections: number };
  /** It takes calls on this port. */
  serving(body: { readonly port: number }): void;
  /** The exposition text of all processes. */
  scrape(body: null): Promise<string>;
  /** What it has counted so far, in case that it dies. */
  counted(body: MetricsSnapshot): void;
  permits(body: PermitAsk): Promise<PermitAnswer>;
  report(body: PermitReport): void;
  /** A credential, or a seal, was refused. */
  failed(body: { readonly who: string; readonly perMinute: number }): void;
};

/** What a primary may ask of its workers. */
export type OfWorker = {
  count(body: null): Promise<MetricsSnapshot>;
  recall(body: { readonly tokenId: string }): PermitReport | null;
  owed(body: { readonly who: string; readonly owedMs: number }): void;
  /** As the app's (app.ts). */
  retire(body: null): void;
  cut(body: null): void;
  /** Drains, and ends the process. */
  stop(body: { readonly graceMs: number }): void;
};
