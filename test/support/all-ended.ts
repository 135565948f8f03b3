import type { Journal } from '../../src/journal/journal.ts';

/** Resolves once nothing of the journal's stream waits for its end. */
export async function allEnded(
  journal: Pick<Journal, 'stream' | 'oldestOpen' | 'onAcknowledged'>,
): Promise<void> {
  while (journal.oldestOpen(journal.stream) !== null) {
    const more = Promise.withResolvers<void>();
    const stop = journal.onAcknowledged(() => more.resolve());
    await more.promise;
    stop();
  }
}
