// node client.mjs URL: what an application does with the official OpenAI client. Prints what it got as one line of JSON.
import OpenAI from 'openai';

const client = new OpenAI({baseURL: `${process.argv[2]}/v1`, apiKey: 'none', maxRetries: 0});

const models = [];
for await (const model of client.models.list()) models.push(model.id);
const model = await client.models.retrieve(models[0]);

const pictures = await client.images.generate(
    {model: models[0], prompt: 'a white cat', n: 2, size: '64x64', response_format: 'b64_json'});
const stored = await client.images.generate({prompt: 'a white cat', size: '64x64', response_format: 'url', output_format: 'jpeg'});
const fetched = await fetch(stored.data[0].url);

// What an error becomes.
async function refusal(request) {
  try {
    await client.images.generate(request);
    return null;
  } catch (error) {
    return {name: error.constructor.name, status: error.status, message: error.message, param: error.param, code: error.code};
  }
}

console.log(JSON.stringify({
  models,
  model: model.object,
  created: pictures.created,
  pictures: pictures.data.map(picture => picture.b64_json),
  stored: {status: fetched.status, type: fetched.headers.get('content-type')},
  tooMany: await refusal({prompt: 'p', n: 11}),
  unknownModel: await refusal({prompt: 'p', model: 'no-such-model'}),
}));
