import t from 'tap';
import { agents } from '../e2e/agents/agents.ts';
import { blocks, page } from './pages.ts';

const text = page('docs/clients.md');
const gateway = { origin: 'http://127.0.0.1:8080', token: 'spt_…' };

t.test('the page tells of each agent what the run by hand sets', async (t) => {
  for (const agent of agents) {
    const section = text.split(/^## /m).find((part) => part.startsWith(`${agent.name}\n`)) ?? '';
    const shown = blocks(section);
    const env = Object.entries(agent.env(gateway)).map(([name, value]) => `${name}=${value}\n`);
    t.same(
      shown.filter(({ language }) => language === 'sh').map(({ code }) => code),
      [env.join('')],
      agent.name,
    );
    const files = Object.entries(agent.files?.(gateway) ?? {});
    for (const [file, content] of files) {
      t.match(section, `~/${file}`);
      const block = shown.find(({ language }) => language === file.split('.').at(-1));
      const parse = file.endsWith('.json') ? JSON.parse : String;
      t.same(parse(block?.code ?? ''), parse(content), `${agent.name}: ${file}`);
    }
    t.equal(shown.length, files.length + 1, agent.name);
    t.match(text, `${agent.name} ${agent.version}`, 'the version that was tried');
  }
});
