/** The two models, run by onnxruntime on one thread: no header of the server is needed for that. */

import * as ort from "./vendor/onnxruntime-web/ort.wasm.bundle.min.mjs";

const RUNTIME = "vendor/onnxruntime-web/ort-wasm-simd-threaded.wasm.gz";

async function fetched(path) {
  const response = await fetch(path).catch(() => null);
  if (!response) throw new Error(`the server did not answer for ${path}`);
  if (!response.ok) throw new Error(`the server has no ${path} (it says ${response.status})`);
  return response;
}

async function bytes(path) {
  return new Uint8Array(await (await fetched(path)).arrayBuffer());
}

/** Unpack gzip, unless the server has had the browser do so on the way. */
async function unpacked(path) {
  const packed = await bytes(path);
  if (packed[0] !== 0x1f || packed[1] !== 0x8b) return packed;
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Return what the export says about the models: names, dimensions, sliders, provenance. */
export async function describe() {
  return (await fetched("models/about.json")).json();
}

/** Load both models, and return a function for each. */
export async function load(about) {
  const [runtime, digits, holes] = await Promise.all([
    unpacked(RUNTIME),
    bytes(`models/${about.digits.file}`),
    bytes(`models/${about.holes.file}`),
  ]);
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmBinary = runtime;
  const drawer = await ort.InferenceSession.create(digits);
  const filler = await ort.InferenceSession.create(holes);
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
