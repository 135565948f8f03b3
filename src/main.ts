// The process: checks what it runs on before anything newer is loaded, then hands over to the command line.
const [major] = process.versions.node.split('.');
if (major !== '26') {
  process.stderr.write(
    `sallyport: this is Node.js ${process.versions.node}, and 26 is needed.\n  Start it by bin/sallyport, which brings its own.\n`,
  );
  process.exit(78);
}

// Whoever reaches a debugger's port reads every key that is opened, and runs what he likes.
const { default: inspector } = await import('node:inspector');
if (inspector.url() !== undefined) {
  process.stderr.write(
    'sallyport: a debugger is listening (--inspect), and would show every key.\n  Take --inspect out of the command line and of NODE_OPTIONS.\n',
  );
  process.exit(78);
}

const { runCli } = await import('./cli/run.ts');
const { readConfig } = await import('./config.ts');
const { default: manifest } = await import('../package.json', { with: { type: 'json' } });

// A reader that goes away (`sallyport keys list | head -1`) is no reason to fail.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});

process.exitCode = await runCli({
  argv: process.argv.slice(2),
  terminal: { input: process.stdin, output: process.stdout, error: process.stderr },
  version: manifest.version,
  readConfig: () => readConfig(process.env),
  loadDeps: async (config) =>
    (await import('./program.ts')).createCliDeps(config, {
      version: manifest.version,
      output: process.stdout,
    }),
});
