console.log("crowd-recital, a stand-in");
