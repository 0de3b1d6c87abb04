"""What the phrases of the demo corpus are filled, wrapped and confused with. Data only."""

# What somebody wants, said so that it fits behind "i want to" and "i do not want to".
WISHES: dict[str, tuple[str, ...]] = {
    "cancel_order": ("cancel my order", "cancel the {item}", "stop order {order}"),
    "track_order": ("track my {item}", "know where my parcel is", "know when order {order} arrives"),
    "refund": ("get my money back", "get a refund for the {item}", "have my {amount} back"),
    "change_address": ("change my address", "have it sent to {city}", "update the address on my account"),
    "payment_failed": ("know why my {method} was declined", "know why the payment failed", "fix the payment error"),
    "reset_password": ("reset my password", "get a new password", "get back into my account"),
    "delete_account": ("delete my account", "close my account", "have all my data removed"),
    "invoice": ("get the invoice", "have a receipt for {amount}", "get the bill for the {item}"),
    "complaint": ("complain about your service", "complain about the {item}", "report the rude courier"),
    "talk_to_human": ("talk to a person", "speak to an agent", "get a call from your team"),
    "product_question": ("know if the {item} is waterproof", "know more about the {item}", "compare two {item} models"),
    "opening_hours": ("know when you are open", "know when the store in {city} closes", "visit your shop {day}"),
}

# Two wishes, of which only the one called {yes} is meant: word order decides.
CONTRASTS: tuple[str, ...] = (
    "i do not want to {no}, i want to {yes}",
    "i want to {yes}, i do not want to {no}",
    "i would like to {yes} and not to {no}",
    "i first wanted to {no}, now i just want to {yes}",
    "i want to {yes} instead, there is no need to {no}",
    "yesterday i asked to {no}, that is done, today i want to {yes}",
)

GREETINGS: tuple[str, ...] = ("hi", "hello", "hey there", "good morning", "dear team", "hi all")
FILLERS: tuple[str, ...] = ("please", "um", "well", "so", "sorry to bother you but", "quick question", "ok")
TRAILERS: tuple[str, ...] = (
    "thanks",
    "thank you in advance",
    "i am a customer for {delay}",
    "i already sent you an email {day}",
    "my order number is {order}",
    "i paid with {method}",
    "i live in {city}",
    "i am logged in to my account",
    "the {item} itself is great",
    "i will be at home {day}",
    "it was {amount}",
    "i hope you can help",
)

SLOTS: dict[str, tuple[str, ...]] = {
    "item": (
        "headphones",
        "kettle",
        "desk lamp",
        "backpack",
        "keyboard",
        "running shoes",
        "coffee machine",
        "phone case",
        "monitor",
        "rain jacket",
        "blender",
        "camera",
        "tent",
        "watch",
    ),
    "city": ("berlin", "lyon", "porto", "leeds", "boston", "toronto", "madrid", "vienna", "oslo", "dublin"),
    "day": ("yesterday", "today", "on monday", "on saturday", "last week", "next friday", "on sunday", "this morning"),
    "delay": ("two days", "a week", "ten days", "three weeks", "a month", "half a year"),
    "method": ("visa card", "paypal", "credit card", "bank transfer", "gift card", "debit card"),
    "fault": ("a cracked screen", "a scratch", "a missing part", "a broken handle", "a bad smell"),
}
