#include "server/openapi.h"

namespace dreamlab {

namespace {

constexpr std::string_view kPage = R"page(<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Dream Lab: API</title>
<style>
  :root { color-scheme: light dark; --line: #8885; --soft: #8881; }
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
  h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
  details { border: 1px solid var(--line); border-radius: 6px; margin: .5rem 0; }
  summary { cursor: pointer; padding: .5rem .75rem; }
  details > div { padding: 0 .75rem .75rem; }
  code, pre, textarea, .method { font-family: ui-monospace, monospace; font-size: .9em; }
  pre { background: var(--soft); padding: .5rem; overflow: auto; max-height: 24rem; white-space: pre-wrap; }
  .method { display: inline-block; min-width: 4.5rem; font-weight: bold; }
  table { border-collapse: collapse; width: 100%; }
  th, td { text-align: left; vertical-align: top; padding: .25rem .5rem; border-bottom: 1px solid var(--line); }
  textarea { width: 100%; min-height: 8rem; box-sizing: border-box; }
  input { margin: .15rem .5rem .15rem 0; }
  img { max-width: 100%; }
</style>
</head>
<body>
<h1>Dream Lab: API</h1>
<p>The document behind this page: <a href="openapi.json">openapi.json</a>.
<label>API key, where the server has one: <input id="key" type="password" autocomplete="off"></label></p>
<main id="routes">Loading ...</main>
<script>
'use strict';
// make('p', {className: 'x'}, child, ...): texts are never read as HTML.
function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

let api;
function resolve(schema) {
  return schema && schema.$ref ? api.components.schemas[schema.$ref.split('/').pop()] : schema;
}

function typeOf(schema) {
  const type = [].concat(schema.type).join(' or ');
  const range = 'minimum' in schema ? ` ${schema.minimum}..${schema.maximum}` : '';
  return schema.enum ? schema.enum.map(String).join(', ') : type + range;
}

function fields(schema) {
  if (schema.type === 'array') schema = resolve(schema.items);
  const table = make('table', {}, make('tr', {}, ...['field', 'type and range', 'default', 'meaning'].map(t => make('th', {}, t))));
  for (const [name, field] of Object.entries(schema.properties || {})) {
    const needed = (schema.required || []).includes(name);
    table.append(make('tr', {}, make('td', {}, make('code', {}, name)), make('td', {}, typeOf(field)),
      make('td', {}, 'default' in field ? JSON.stringify(field.default) : needed ? 'always there' : ''),
      make('td', {}, field.description || '')));
  }
  return table;
}

function content(contents) {
  return Object.entries(contents || {}).map(([type, entry]) => {
    const schema = resolve(entry.schema);
    return make('div', {}, make('code', {}, type), ...(schema ? [fields(schema)] : []));
  });
}

function example(schema) {
  const body = {};
  for (const [name, field] of Object.entries(schema.properties || {})) {
    if (field.examples) body[name] = field.examples[0];
    else if ((schema.required || []).includes(name)) body[name] = 'default' in field ? field.default : '';
  }
  return JSON.stringify(body, null, 2);
}

async function show(response, output) {
  const type = response.headers.get('content-type') || '';
  const head = [`${response.status} ${response.statusText}`, ...[...response.headers].map(([n, v]) => `${n}: ${v}`)];
  output.replaceChildren(make('pre', {}, head.join('\n')));
  if (type.startsWith('image/')) output.append(make('img', {src: URL.createObjectURL(await response.blob()), alt: 'the answer'}));
  else output.append(make('pre', {}, type.includes('json') ? JSON.stringify(await response.json(), null, 2) : await response.text()));
}

function tryForm(path, method, operation) {
  const form = make('form', {});
  const inputs = (operation.parameters || []).map(p => [p, make('input', {placeholder: p.name})]);
  for (const [p, input] of inputs) form.append(make('label', {}, `${p.name} `, input));
  const contents = operation.requestBody ? operation.requestBody.content : {};
  const multipart = contents['multipart/form-data'];
  const parts = [];
  let text;
  if (multipart) {
    for (const [name, field] of Object.entries(resolve(multipart.schema).properties)) {
      const input = make('input', {type: field.contentMediaType ? 'file' : 'text'});
      parts.push([name, input]);
      form.append(make('label', {}, `${name} `, input));
    }
  } else if (contents['application/json']) {
    text = make('textarea', {value: example(resolve(contents['application/json'].schema)), spellcheck: false});
    form.append(text);
  }
  const output = make('div', {});
  form.append(make('button', {}, 'Send'), output);
  form.onsubmit = async event => {
    event.preventDefault();
    let url = path;
    const query = new URLSearchParams();
    for (const [p, input] of inputs) {
      if (p.in === 'path') url = url.replace(`{${p.name}}`, encodeURIComponent(input.value));
      else if (input.value) query.set(p.name, input.value);
    }
    const headers = {};
    const key = document.getElementById('key').value;
    if (key) headers.Authorization = `Bearer ${key}`;
    let body;
    if (multipart) {
      body = new FormData();
      for (const [name, input] of parts) {
        if (input.type === 'file') { if (input.files[0]) body.append(name, input.files[0]); }
        else if (input.value) body.append(name, input.value);
      }
    } else if (text) {
      headers['Content-Type'] = 'application/json';
      body = text.value;
    }
    output.replaceChildren('Waiting ...');
    try {
      await show(await fetch('.' + url + (query.size ? `?${query}` : ''), {method: method.toUpperCase(), headers, body}), output);
    } catch (error) {
      output.replaceChildren(String(error));
    }
  };
  return form;
}

function route(path, method, operation) {
  const responses = Object.entries(operation.responses).map(([status, response]) =>
    make('div', {}, make('h4', {}, `${status}: ${response.description}`),
      ...Object.entries(response.headers || {}).map(([n, h]) => make('div', {}, make('code', {}, n), ` ${h.description}`)),
      ...(Number(status) < 400 ? content(response.content) : [])));
  const inside = make('div', {}, make('p', {}, operation.description || ''),
    ...(operation.requestBody ? [make('h4', {}, 'Body'), ...content(operation.requestBody.content)] : []),
    ...responses, make('h4', {}, 'Try it'), tryForm(path, method, operation));
  return make('details', {}, make('summary', {}, make('span', {className: 'method'}, method.toUpperCase()),
    make('code', {}, path), ` ${operation.summary}`), inside);
}

fetch('openapi.json').then(r => r.json()).then(found => {
  api = found;
  const tags = new Map();
  for (const [path, methods] of Object.entries(api.paths))
    for (const [method, operation] of Object.entries(methods)) {
      const tag = operation.tags[0];
      if (!tags.has(tag)) tags.set(tag, []);
      tags.get(tag).push(route(path, method, operation));
    }
  const main = document.getElementById('routes');
  main.replaceChildren();
  for (const [tag, routes] of tags) main.append(make('h2', {}, tag), ...routes);
}).catch(error => { document.getElementById('routes').textContent = String(error); });
</script>
</body>
</html>
)page";

}  // namespace

std::string_view docs_page() {
  return kPage;
}

}  // namespace dreamlab
