import t from 'tap';
import type { Result } from '../../bench/bench.ts';
import { withSection } from '../../bench/document.ts';
import type { HeldSample } from '../../bench/held.ts';
import type { Sample } from '../../bench/measure.ts';
import { reportMarkdown, reportText } from '../../bench/report.ts';
import { judge } from '../../bench/targets.ts';

const sample = (candidate: Sample['candidate'], caseName: Sample['caseName'], cpuUs: number): Sample => ({
  candidate,
  caseName,
  round: 0,
  calls: 9,
  failed: candidate === 'bare' ? 2 : 0,
  failure: candidate === 'bare' ? 'status 500' : null,
  callsPerSecond: 1000,
  cpuUs,
  cpuAfterUs: 1,
  postgresUs: 0,
  p50Ms: cpuUs / 100,
});
const held = (candidate: Sample['candidate'], most: number, besideUs: number): HeldSample => ({
  candidate,
  round: 0,
  rssBytes: 1e8,
  bytesAStream: [20_000, most],
  aloneUs: 100,
  besideUs,
  failed: 0,
  failure: null,
});
const measured = {
  samples: [
    sample('bare', 'small', 200),
    sample('sallyport', 'small', 100),
    sample('all-on', 'features', 150),
    sample('all-off', 'features', 100),
  ],
  held: [held('bare', 40_000, 100), held('sallyport', 20_000, 110)],
};
const result: Result = {
  ...measured,
  date: '2026-01-02T03:04:05.678Z',
  node: 'v26',
  nginxVersion: null,
  cpuModel: 'a processor',
  cpus: 2,
  loadBefore: 0.1,
  isPinned: true,
  seconds: 2,
  rounds: 1,
  minutes: 3.2,
  candidates: ['bare', 'sallyport', 'all-on', 'all-off'],
  absent: ['nginx'],
  cases: ['small', 'features', 'held'],
  heldCounts: [1000],
  unheldCounts: [5000],
  failedCalls: 2,
  targets: judge(measured),
};

t.test('every target is judged by its own figure, and none by what was not measured', async (t) => {
  const verdicts = Object.fromEntries(
    result.targets.map(({ title, verdict, seen }) => [title, [verdict, seen?.median]]),
  );
  t.strictSame(verdicts['small JSON, CPU a call, × bare'], ['met', 0.5]);
  t.strictSame(verdicts['small JSON, CPU a call, × nginx'], ['not measured', undefined]);
  t.strictSame(verdicts['memory a stream, most streams held, × bare'], ['excellent', 0.5]);
  t.strictSame(verdicts['small JSON, CPU a call, × without the streams that are held'], ['excellent', 1.1]);
  t.strictSame(verdicts['small JSON, CPU a call, all features on × all off'], ['missed', 1.5]);
});

t.test('the report names what is absent, what failed, and what could not be held', async (t) => {
  for (const text of [reportText(result), reportMarkdown(result, 'npm run bench')]) {
    t.match(text, 'Absent here: nginx.');
    t.match(text, 'FAILED: 2 calls of bare, small, round 1: status 500');
    t.match(text, 'Not measured: 5000 streams held.');
    t.match(text, /sallyport.*0\.50 \(0\.50–0\.50\)/);
  }
  t.match(reportMarkdown(result, 'npm run bench'), '`npm run bench`, 2026-01-02, 4 minutes on a processor.');
});

t.test('a section of a document is replaced, and nothing else of it', async (t) => {
  const document = '# Measured\n\nIntro.\n\n## One\n\nold\n\n### Part\n\nold\n\n## Two\n\nstays\n';
  const once = withSection(document, '## One', '\nnew\n');
  t.equal(once, '# Measured\n\nIntro.\n\n## One\n\nnew\n\n## Two\n\nstays\n');
  t.equal(withSection(once, '## One', 'new'), once);
  t.equal(withSection(once, '## Two', 'other'), '# Measured\n\nIntro.\n\n## One\n\nnew\n\n## Two\n\nother\n');
  t.equal(withSection(once, '## Three', 'more'), `${once}\n## Three\n\nmore\n`);
});
