// Imported into each test process, behind what tap itself imports there (.taprc). Tap turns on source maps for packages too, and Node
// then reads and parses a map for each of their files that names one: an eighth of what a start of a test file costs.
import { setSourceMapsSupport } from 'node:module';

setSourceMapsSupport(true, { nodeModules: false, generatedCode: false });
