/** The two models, run by onnxruntime on one thread: no header of the server is needed for that. */

const ABOUT = "models/about.json";
const LIBRARY = "vendor/onnxruntime-web/ort.wasm.bundle.min.mjs";
const RUNTIME = "vendor/onnxruntime-web/ort-wasm-simd-threaded.wasm.gz";

async function fetched(path) {
  const response = await fetch(path).catch(() => null);
  if (!response) throw lost(path);
  if (response.ok) return response;
  throw new Error(`the server has no ${path} (it says ${response.status}). Put all of the page's files there`);
}

function lost(path) {
  return new Error(`the server did not answer for ${path}. Reload the page to try again`);
}

function damaged(path) {
  return new Error(`${path} is damaged. Put the page's files on the server anew`);
}

function needs(name) {
  if (name in globalThis) return;
  throw new Error(`this browser has no ${name}, and the page needs it. A current browser has it`);
}

/** Fetch a file; `came` hears of the bytes as they come. */
async function bytes(path, came) {
  const { body } = await fetched(path);
  const counter = new TransformStream({
    transform(part, stream) {
      came(part.length);
      stream.enqueue(part);
    },
  });
  const whole = await new Response(body.pipeThrough(counter)).arrayBuffer().catch(() => {
    throw lost(path);
  });
  return new Uint8Array(whole);
}

/** Unpack gzip, unless the server has had the browser do so on the way. */
async function unpacked(path, came) {
  const packed = await bytes(path, came);
  if (packed[0] !== 0x1f || packed[1] !== 0x8b) return packed;
  needs("DecompressionStream");
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const whole = await new Response(stream).arrayBuffer().catch(() => {
    throw damaged(path);
  });
  return new Uint8Array(whole);
}

/** Import onnxruntime here and not above, where a page without it would stand still and say nothing. */
function library() {
  return import(`./${LIBRARY}`).catch(async () => {
    await fetched(LIBRARY); // throws if it is not there
    throw damaged(LIBRARY);
  });
}

/** Return what the export says about the models: names, dimensions, sliders, provenance. */
export async function describe() {
  const response = await fetched(ABOUT);
  return response.json().catch(() => {
    throw damaged(ABOUT);
  });
}

/** Fetch all that is large, side by side; `came` hears how many bytes came, each time some do. */
export async function download(about, came) {
  needs("WebAssembly");
  const [ort, runtime, digits, holes] = await Promise.all([
    library(),
    unpacked(RUNTIME, came),
    bytes(`models/${about.digits.file}`, came),
    bytes(`models/${about.holes.file}`, came),
  ]);
  return { ort, runtime, digits, holes };
}

/** Start both models, and return a function for each. */
export async function start(about, { ort, runtime, digits, holes }) {
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmBinary = runtime;
  const session = (model, file) =>
    ort.InferenceSession.create(model).catch(() => {
      throw damaged(WebAssembly.validate(runtime) ? `models/${file}` : RUNTIME);
    });
  const drawer = await session(digits, about.digits.file);
  const filler = await session(holes, about.holes.file);
  const { side } = about.holes;

  return {
    /** Draw one image for each code; codes are a Float32Array, count times latent_dim. */
    async draw(z, label) {
      const count = z.length / about.digits.latent_dim;
      const { images } = await drawer.run({
        z: new ort.Tensor("float32", z, [count, about.digits.latent_dim]),
        labels: new ort.Tensor("int64", new BigInt64Array(count).fill(BigInt(label)), [count]),
      });
      return split(images.data, count);
    },

    /** Fill what the mask hides, once for each row of noise. */
    async complete(eps, image, mask) {
      const count = eps.length / about.holes.latent_dim;
      const given = new Float32Array(2 * side * side);
      given.set(image.map((ink, pixel) => (mask[pixel] ? ink : 0)));
      given.set(mask, side * side);
      const { images } = await filler.run({
        eps: new ort.Tensor("float32", eps, [count, about.holes.latent_dim]),
        given: new ort.Tensor("float32", given, [1, 2, side, side]),
      });
      return split(images.data, count);
    },
  };
}

function split(pixels, count) {
  const length = pixels.length / count;
  return Array.from({ length: count }, (_, n) => pixels.slice(n * length, (n + 1) * length));
}
