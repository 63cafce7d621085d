import { expect, test } from '@jest/globals';

import {
  endpointNameFor,
  formatJson,
  formatMilliseconds,
  formatNumber,
  formatRate,
  formatSize,
  loadCode,
  modelNameFor,
  modelOf,
  parseTags,
  reference,
  requestBody
} from '../format';

test.each([
  [undefined, ''],
  [0, '0 B'],
  [999, '999 B'],
  [21_313, '21.3 kB'],
  [999_949, '1000 kB'],
  [999_950, '1.0 MB'],
  [3_500_000, '3.5 MB'],
  [123_456_789_000, '123 GB']
])('%s bytes are written %s', (bytes, text) => {
  expect(formatSize(bytes)).toBe(text);
});

test('a metric is written with at most four digits that count, a whole number as it is', () => {
  expect(formatNumber(0.95824175)).toBe('0.9582');
  expect(formatNumber(0.0049)).toBe('0.0049');
  expect(formatNumber(123_456)).toBe('123456');
  expect(formatNumber(null)).toBe('–');
});

test('a version is named as every other door names it', () => {
  const churn = { name: 'churn', version: '3' };
  expect(reference(churn)).toBe('azureml:churn:3');
  expect(loadCode(churn)).toBe('model = %model_load churn:3');
  expect(modelOf({ model: 'azureml:churn:3' })).toEqual(churn);
  expect(modelOf({ model: 'azureml:churn@latest' })).toBeUndefined();
  expect(modelOf({ model: { name: 'inline' } })).toBeUndefined();
});

test.each([
  ['churn', 'churn'],
  ['Churn_Model.v2', 'churn-model-v2'],
  ['7days', 'm-7days'],
  ['_x_', 'm--x'],
  ['ab', 'ab-model'],
  ['a'.repeat(31) + '_b', 'a'.repeat(31)]
])('the endpoint of %s is called %s', (model, endpoint) => {
  expect(endpointNameFor(model)).toBe(endpoint);
  expect(endpoint).toMatch(/^[a-z][a-z0-9-]{1,30}[a-z0-9]$/);
});

test.each([
  ['models/churn.onnx', 'churn'],
  ['models/my model/', 'my-model'],
  ['.hidden', 'hidden'],
  ['archive.tar.gz', 'archive.tar'],
  ['', '']
])('the model of %s is called %s', (path, name) => {
  expect(modelNameFor(path)).toBe(name);
});

test('tags are read with their spaces and signs', () => {
  expect(parseTags(' stage=dev , formula=a=b, reviewed,, ')).toEqual({ stage: 'dev', formula: 'a=b', reviewed: '' });
});

test('a request starts from the example that was registered', () => {
  expect(requestBody({ input_example: [[1, 2]] })).toBe('{"input_data":[[1,2]]}');
});

test('without an example a request is one row of zeros that fits the signature', () => {
  const inputs = [
    { name: 'age', type: 'long' },
    { name: 'city', type: 'string' },
    { name: 'is_new', type: 'boolean' }
  ];
  expect(JSON.parse(requestBody({ signature: { inputs } }))).toEqual({
    input_data: { columns: ['age', 'city', 'is_new'], data: [[0, '', false]] }
  });
  const tensor = [{ type: 'double', shape: [-1, 2, 2] }];
  expect(JSON.parse(requestBody({ signature: { inputs: tensor } }))).toEqual({
    input_data: [
      [
        [0, 0],
        [0, 0]
      ]
    ]
  });
  expect(requestBody(undefined)).toBe('{"input_data":[[]]}');
});

test('long JSON is broken into lines, rows are not', () => {
  const value = { columns: ['a', 'b'], data: [Array(30).fill(1.25), Array(30).fill(2.5)] };
  const lines = formatJson(value).split('\n');
  expect(JSON.parse(lines.join('\n'))).toEqual(value);
  expect(lines).toHaveLength(7);
  expect(lines[1]).toBe('  "columns": ["a","b"],');
});

test.each([
  [0, '0.00 ms'],
  [0.314, '0.31 ms'],
  [4.04, '4.0 ms'],
  [9.96, '10 ms'],
  [123.4, '123 ms'],
  [999.6, '1.0 s'],
  [12345, '12 s']
])('%s milliseconds are written as %s', (value, text) => {
  expect(formatMilliseconds(value)).toBe(text);
});

test.each([
  [18512.4, '18,512'],
  [12.3, '12'],
  [4.25, '4.3'],
  [0.314, '0.31'],
  [2, '2']
])('%s a second are written as %s', (value, text) => {
  expect(formatRate(value)).toBe(text);
});
