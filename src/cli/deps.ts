/** What the command line asks of the program behind it; src/app.ts provides it. Errors are SallyportErrors. */
export interface CliDeps {
  /** Runs the gateway until a signal ends it. Resolves with the exit code. */
  serve(options: ServeOptions): Promise<number>;
  /** @throws {SallyportError} ALREADY_INITIALISED, nothing changed. */
  init(): Promise<Initialised>;
  migrate(): Promise<{ readonly applied: readonly string[]; readonly version: string }>;
  /** Files and table of this installation; with `dir`, that folder's files alone, without a database. */
  verifyJournal(options: { readonly dir: string | null }): Promise<Verification>;
  /** Opens the data directory in this process, as the caller `cli`. Refused while a gateway runs on it. */
  openOffline(): Promise<Offline>;
  doctor(): Promise<{ readonly ok: boolean; readonly checks: readonly Check[] }>;
}

export interface ServeOptions {
  /** The descriptor that bin/sallyport hands provider keys over on: `NAME=value` and a NUL byte each, then the end. */
  readonly keysFd: number | null;
}

export interface Initialised {
  readonly workspaceId: string;
  readonly adminToken: string;
  readonly token: string;
}

export interface Verification {
  readonly ok: boolean;
  readonly streams: number;
  readonly records: number;
  readonly openCalls: number;
  readonly problems: readonly {
    readonly stream: string;
    readonly seq: number | null;
    readonly kind: string;
    readonly message: string;
  }[];
}

export interface Check {
  readonly name: string;
  readonly ok: boolean;
  readonly detail: string;
  /** What to do; null where nothing is wrong. */
  readonly fix: string | null;
}

/** `/api` without a network. `body` is JSON and stays the caller's to wipe. */
export interface Offline {
  request(method: string, path: string, body: Buffer | null): Promise<{ status: number; body: Buffer }>;
  close(): Promise<void>;
}
