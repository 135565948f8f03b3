import type { Candidate, CandidateName, Stage } from './candidate.ts';
import { startGatewayProcess } from './gateway-process.ts';

export async function startSallyport(
  name: Extract<CandidateName, 'sallyport' | 'sallyport-relaxed'>,
  { upstreamPort, key, folder, profileDir }: Stage,
): Promise<Candidate> {
  const settings = {
    JOURNAL_SYNC: name === 'sallyport' ? 'strict' : 'relaxed',
    SALLYPORT_OPENAI_ORIGIN: `http://127.0.0.1:${upstreamPort}`,
  };
  const gateway = await startGatewayProcess({ place: 'measured', name, folder, key, settings, profileDir });
  return { name, ...gateway, settle: gateway.settled };
}
