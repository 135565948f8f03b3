import type { IncomingMessage } from 'node:http';
import { readFormModel, type FormModel } from '../dialects/form-model.ts';
import { splice } from '../dialects/top-level.ts';
import { SallyportError } from '../errors.ts';
import type { BodyShare } from './body-budget.ts';
import type { Paces } from './body-pace.ts';
import { announcedLength, boundedUpload, readBody, readStart, type Upload } from './request-body.ts';

/** So much of a form is looked at for its model; SDKs send the file last. */
const startBytes = 64 * 1024;
/** What a form may have whose model has to be known before anything is sent. */
const maxJudgedBytes = 25 * 1024 * 1024;

export interface FormBody {
  /** Null: there is none, or it comes after the first 64 KiB. */
  readonly model: string | null;
  /**
   * What goes upstream: in memory where it is small or was read whole, else a stream, which can be opened once.
   *
   * @param model in the place of the one that came; null: as it came.
   */
  open(model: string | null): Buffer | Upload;
}

export interface FormBounds {
  readonly maxUploadBytes: number;
  readonly share: Pick<BodyShare, 'take'>;
  readonly paces: Paces;
  /** The token is for certain models only: no other may hide behind the start of a form. */
  readonly restrictsModels: boolean;
  /** What can be read in two ways is refused; else it has no model. */
  readonly isStrict: boolean;
}

/** @throws {SallyportError} BODY_TOO_LARGE, REQUEST_TIMEOUT, REQUEST_INVALID, RATE_LIMITED, CLIENT_CLOSED. */
export async function readForm(request: IncomingMessage, bounds: FormBounds): Promise<FormBody> {
  const { share, paces, maxUploadBytes } = bounds;
  const contentType = request.headers['content-type'] ?? '';
  const { bytes, isWhole } = bounds.restrictsModels
    ? { bytes: await readWhole(request, bounds), isWhole: true }
    : await readStart(request, startBytes, share, paces.upload);
  const found = readModel(contentType, bytes, isWhole, bounds);
  return {
    model: found?.model ?? null,
    open(model) {
      const sent = found === null || model === null ? bytes : renamed(bytes, found, model);
      // It may have ended with its start.
      if (isWhole || request.readableEnded) return sent;
      request.unshift(sent);
      return boundedUpload(request, maxUploadBytes, paces.upload, sent.length - bytes.length);
    },
  };
}

function readModel(
  contentType: string,
  bytes: Buffer,
  isWhole: boolean,
  { isStrict, restrictsModels }: FormBounds,
): FormModel | null {
  try {
    return readFormModel(contentType, bytes, isWhole);
  } catch (error) {
    if (isStrict || restrictsModels) throw error;
    return null;
  }
}

function renamed(bytes: Buffer, { span }: FormModel, model: string): Buffer {
  return splice(bytes, [{ ...span, bytes: Buffer.from(model) }]);
}

function readWhole(request: IncomingMessage, { maxUploadBytes, share, paces }: FormBounds): Promise<Buffer> {
  const maxBytes = Math.min(maxJudgedBytes, maxUploadBytes);
  if (announcedLength(request) > maxBytes) throw tooLargeToJudge(maxBytes);
  return readBody(request, maxBytes, share, paces.whole).catch((error: unknown) => {
    const isTooLarge = error instanceof SallyportError && error.code === 'BODY_TOO_LARGE';
    throw isTooLarge ? tooLargeToJudge(maxBytes) : error;
  });
}

function tooLargeToJudge(maxBytes: number): SallyportError {
  return new SallyportError(
    'BODY_TOO_LARGE',
    `This token is for certain models only, and a form of more than ${maxBytes} bytes is not read for its model.`,
    { fix: 'Send less, or use a token without a list of models.' },
  );
}
