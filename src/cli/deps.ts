/** What the command line asks of the program behind it; src/app.ts provides it. Errors are SallyportErrors. */
export interface CliDeps {
  /** Runs the gateway until a signal ends it. Resolves with the exit code. */
  serve(options: ServeOptions): Promise<number>;
  /** @throws {SallyportError} ALREADY_INITIALISED, nothing changed. */
  init(): Promise<Initialised>;
  migrate(): Promise<{ readonly applied: readonly string[]; readonly version: string }>;
  /**
   * Files, table and checkpoints of this installation; with `dir`, that folder's files alone, without a database. `against`: a file of
   * checkpoints in place of DATA_DIR/checkpoints.txt.
   */
  verifyJournal(options: {
    readonly dir: string | null;
    readonly since: Date | null;
    readonly against: string | null;
  }): Promise<Verification>;
  /**
   * Drops the months that are older than JOURNAL_RETENTION_MONTHS, as the gateway does every day.
   *
   * @throws {SallyportError} CONFIG_INVALID: it is not set; VAULT_SEALED.
   */
  retireJournal(options: { readonly isDryRun: boolean }): Promise<readonly MonthOutcome[]>;
  /** Opens the data directory in this process, as the caller `cli`. Refused while a gateway runs on it. */
  openOffline(): Promise<Offline>;
  doctor(): Promise<{ readonly ok: boolean; readonly checks: readonly Check[] }>;
  safekeeping(): Promise<Safekeeping>;
}

export interface MonthOutcome {
  readonly month: string;
  readonly records: number;
  readonly outcome: 'retired' | 'due' | 'not-covered' | 'late' | 'faulty';
}

/** What leaves the installation to be kept, and how it comes back. `recipients` and `identities` are age's. */
export interface Safekeeping {
  /** @throws {SallyportError} CONFLICT: the file is there. */
  exportVault(options: { readonly to: string; readonly recipients: readonly string[] }): Promise<Exported>;
  /** Into an empty installation. @throws {SallyportError} CONFLICT: not empty, damaged; CONFIG_INVALID: another ring. */
  importVault(options: { readonly from: string; readonly identities: string | null }): Promise<Imported>;
  /** `keep`: so many of the newest, null: all. */
  backup(options: {
    readonly to: string;
    readonly recipients: readonly string[];
    readonly keep: number | null;
  }): Promise<BackedUp>;
  /** Until `signal`. */
  keepBackups(options: {
    readonly to: string;
    readonly recipients: readonly string[];
    readonly everyMs: number;
    readonly keep: number;
    readonly signal: AbortSignal;
    readonly onEvent: (event: BackupEvent) => void;
  }): Promise<void>;
  /** Into an empty DATA_DIR. `at` null: the newest state. */
  restore(options: {
    readonly from: string;
    readonly at: Date | null;
    readonly identities: string | null;
  }): Promise<RestoredState>;
}

export interface Imported {
  readonly deploymentId: string;
  readonly rootKeyIds: readonly string[];
  /** Rows by table. */
  readonly counts: Readonly<Record<string, number>>;
}

export interface Exported extends Imported {
  readonly file: string;
  readonly isPortable: boolean;
}

export interface BackedUp {
  readonly id: string;
  readonly folder: string;
  readonly finishedAt: string;
  readonly bytes: number;
  /** Ids of older ones that were deleted. */
  readonly pruned: readonly string[];
}

export type BackupEvent =
  | { readonly kind: 'backup'; readonly id: string; readonly pruned: readonly string[] }
  | { readonly kind: 'waiting' }
  | { readonly kind: 'failed'; readonly error: unknown };

export interface RestoredState {
  readonly backup: string;
  readonly restoredTo: string;
  readonly deploymentId: string;
  readonly rootKeyIds: readonly string[];
  /** Those of them that did not come with it. */
  readonly missingRootKeyIds: readonly string[];
  /** The first record of the journal that had to be left out. */
  readonly cut: { readonly stream: string; readonly seq: number } | null;
  readonly hasKeyring: boolean;
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
  readonly checkpoints: number;
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

/** `/api` without a network. `body` is JSON and stays the caller's to wipe. `headers`: further ones, such as a seal's secret. */
export interface Offline {
  request(
    method: string,
    path: string,
    body: Buffer | null,
    headers?: Readonly<Record<string, string>>,
  ): Promise<{ status: number; body: Buffer }>;
  close(): Promise<void>;
}
