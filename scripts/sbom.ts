// The software bill of materials of what is installed to run: CycloneDX JSON on standard output, for every platform of the lock file.
// Usage: npm run sbom > sbom.cdx.json
import { execFileSync } from 'node:child_process';
import path from 'node:path';

interface Component {
  readonly 'bom-ref': string;
  readonly name: string;
  readonly purl: string;
  readonly properties: readonly { readonly name: string; readonly value: string }[];
}

interface Bom {
  readonly metadata: { readonly component: Component };
  readonly components: readonly Component[];
  readonly dependencies: readonly { readonly ref: string; readonly dependsOn: readonly string[] }[];
}

const root = path.join(import.meta.dirname, '..');
// `npm sbom --omit=dev` leaves out each package that a development dependency uses too, undici and half of pg among them (npm 11): the
// whole list is asked for, and what npm itself marks as development goes.
const whole = JSON.parse(
  execFileSync('npm', ['sbom', '--sbom-format=cyclonedx', '--package-lock-only'], {
    cwd: root,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    maxBuffer: 64 * 1024 * 1024,
  }),
) as Bom;
const components = whole.components.filter(
  ({ properties }) => !properties.some(({ name }) => name === 'cdx:npm:package:development'),
);
const kept = new Set([whole.metadata.component['bom-ref'], ...components.map((one) => one['bom-ref'])]);
const dependencies = whole.dependencies
  .filter(({ ref }) => kept.has(ref))
  .map(({ ref, dependsOn }) => ({ ref, dependsOn: dependsOn.filter((one) => kept.has(one)) }));
const bom = {
  ...whole,
  // npm takes the name of the folder.
  metadata: {
    ...whole.metadata,
    component: { ...whole.metadata.component, name: 'sallyport', type: 'application' },
  },
  components,
  dependencies,
};
process.stdout.write(`${JSON.stringify(bom, null, 2)}\n`);
