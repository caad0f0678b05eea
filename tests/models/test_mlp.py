import numpy as np

from models.mlp import Training, softmax, train

RANDOM = np.random.default_rng(5)


def xor(rows):
    points = RANDOM.uniform(-1, 1, (rows, 2)).astype(np.float32)
    return points, (points[:, 0] * points[:, 1] > 0).astype(np.intp)


def test_learns_what_no_linear_model_can():
    points, classes = xor(4000)
    how = Training("classes", epochs=40, batch=64, rate=1e-2)
    net = train(points, classes, np.ones(4000, np.float32), (16,), 2, how, seed=1)
    fresh, truth = xor(1000)
    chances = softmax(net.activations(fresh)[-1])
    assert np.allclose(chances.sum(axis=1), 1, atol=1e-6)
    assert (chances.argmax(axis=1) == truth).mean() > 0.95


def test_learns_to_reproduce_its_input_through_a_narrow_layer():
    rows = (RANDOM.normal(size=(3000, 2)) @ RANDOM.normal(size=(2, 6))).astype(np.float32)
    how = Training("squares", epochs=40, batch=64, rate=1e-2)
    net = train(rows, rows, np.ones(3000, np.float32), (16, 4, 16), 6, how, seed=1)
    left = ((net.activations(rows)[-1] - rows) ** 2).mean()
    assert left < 0.1 * (rows**2).mean()


def test_the_same_seed_gives_the_same_bytes():
    points, classes = xor(300)
    how = Training("classes", epochs=3, batch=32, noise=0.1)
    weights = np.ones(300, np.float32)
    first, second, other = (
        train(points, classes, weights, (4,), 2, how, seed).weights[0] for seed in (1, 1, 2)
    )
    assert first.tobytes() == second.tobytes() != other.tobytes()


def test_a_row_of_no_weight_teaches_nothing():
    points, classes = xor(200)
    wrong = np.where(points[:, 0] > 0, 1 - classes, classes)
    weights = (points[:, 0] <= 0).astype(np.float32)
    how = Training("classes", epochs=2, batch=200)
    one, two = (train(points, of, weights, (4,), 2, how, seed=1) for of in (classes, wrong))
    assert one.weights[0].tobytes() == two.weights[0].tobytes()
