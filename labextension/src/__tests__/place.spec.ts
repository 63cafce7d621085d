import { expect, test } from '@jest/globals';

import { freeName, IDeployForm, NEW, toPlace } from '../place';

const FORM: IDeployForm = {
  endpoint: ' churn ',
  deployment: '',
  newName: ' green ',
  traffic: 10,
  modelClass: '',
  isAccelerated: false
};
const ROW = { endpoint: { name: 'churn' }, deployments: [{ name: 'blue' }], deployment: { name: 'blue' } };

test('a new endpoint is only named', () => {
  expect(toPlace({ ...FORM, deployment: NEW }, undefined)).toEqual({ endpoint_name: 'churn' });
});

test('a model goes in the place of a deployment and takes its share', () => {
  expect(toPlace({ ...FORM, deployment: 'blue' }, ROW)).toEqual({ endpoint_name: 'churn', deployment_name: 'blue' });
  expect(toPlace(FORM, ROW)).toEqual({ endpoint_name: 'churn' });
});

test('a model beside the others has a name and a share of its own', () => {
  expect(toPlace({ ...FORM, deployment: NEW }, ROW)).toEqual({
    endpoint_name: 'churn',
    deployment_name: 'green',
    traffic: 10
  });
});

test('a class and an accelerator are sent when they are given', () => {
  const place = toPlace({ ...FORM, modelClass: ' nets:Net(4) ', isAccelerated: true }, undefined);
  expect(place).toEqual({ endpoint_name: 'churn', model_class: 'nets:Net(4)', accelerator: 'onnx' });
});

test('a name that is free is suggested for a deployment beside the others', () => {
  const names = (...taken: string[]): string =>
    freeName({ ...ROW, deployments: taken.map(name => ({ name, endpoint_name: 'churn' })) });
  expect(names('blue')).toBe('green');
  expect(names('green')).toBe('blue');
  expect(names('blue', 'green')).toBe('green-2');
  expect(names('blue', 'green', 'green-2')).toBe('green-3');
  expect(toPlace({ ...FORM, deployment: NEW, newName: null }, ROW).deployment_name).toBe('green');
});
