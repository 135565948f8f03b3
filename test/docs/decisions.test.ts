import t from 'tap';
import { page, pages } from './pages.ts';

const folder = 'docs/decisions/';

t.test('the index names every decision, by its number and title, in their order', async (t) => {
  const decisions = pages.filter(({ name }) => name.startsWith(folder) && !name.endsWith('README.md'));
  const wanted = decisions
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .map(({ name, text }) => {
      const [, number = '', title = ''] = /^# (\d+)\. (.+)\n/.exec(text) ?? [];
      t.equal(name.slice(folder.length, folder.length + 4), number.padStart(4, '0'), name);
      return `- ${number} · [${title}](${name.slice(folder.length)})`;
    });
  const lines = page(`${folder}README.md`).split('\n');
  t.same(
    lines.filter((line) => line.startsWith('- ')),
    wanted,
  );
});
