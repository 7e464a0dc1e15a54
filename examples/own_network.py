"""Define a network, train it, check its gradients, save it and load it."""

from pellucid import Conv2d, Dense, Flatten, MaxPool2d, Model, ReLU, Sequential
from pellucid.data import load

digits = load("digits")  # 8 x 8 pixels, part of scikit-learn: nothing is downloaded
net = Sequential(conv=Conv2d(16, 3, padding=1), relu=ReLU(), pool=MaxPool2d(2), flatten=Flatten(), dense=Dense(10))
model = Model(net, loss="softmax_cross_entropy", optimizer="adam")
model.fit(digits.train, epochs=20, batch_size=32, validation=digits.test)

print(model.summary())
print(f"accuracy {model.evaluate(digits.test)['accuracy']:.2%}")
print("every gradient agrees:", model.verify(digits.test.x[:4], digits.test.y[:4]).ok)

model.save("own.safetensors")
print(Model.load("own.safetensors").predict(digits.test.x[:1]).argmax().item(), "should be", digits.test.y[0].item())
