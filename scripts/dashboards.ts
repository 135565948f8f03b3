import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { boardText } from './dashboards/board.ts';
import { boards } from './dashboards/boards.ts';

/** Writes the dashboards to docker/grafana/dashboards. `--check` writes nothing, and exits 1 where one there is another. */
const folder = path.join(import.meta.dirname, '..', 'docker', 'grafana', 'dashboards');
const isCheck = process.argv.includes('--check');

for (const board of boards) {
  const file = path.join(folder, `${board.name}.json`);
  const text = boardText(board);
  if (!isCheck) writeFileSync(file, text);
  else if (readFileSync(file, 'utf8') !== text) {
    process.stderr.write(`${file} is not what scripts/dashboards.ts makes: run node scripts/dashboards.ts\n`);
    process.exitCode = 1;
  }
}
